"""Classes of one's own in the typed MessagePack codec: only those that were registered, each under a name.

Dataclasses, attrs classes and pydantic models are taken apart into their fields and put together again without their
`__init__` or validators; an Enum is kept by its member's name, a Flag by its value. For any other class, or to do it
otherwise, register a pair of functions. A stored object lacks a field that the class has got since: it gets the default.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tiered.arguments import text_of
from tiered.codecs.base import MAX_DEPTH
from tiered.errors import ConfigError, InvalidValue, Unreadable
from tiered.handlers import pass_on

_NAME = re.compile(r"[\w.:-]{1,100}")
_MISSING = object()


class Registered(NamedTuple):
    """A class that can be stored: `dump` makes something storable of an object, `load` the object of that."""

    kind: type
    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


class Registry:
    """The registered classes of a codec, by class and by name, and how deep its values may nest. Immutable."""

    def __init__(self, types: Iterable[type | Registered] = (), max_depth: int = MAX_DEPTH) -> None:
        self.max_depth = max_depth
        entries = [it if isinstance(it, Registered) else register(it) for it in types]
        self.by_kind: Mapping[type, Registered] = {it.kind: it for it in entries}
        self.by_name: Mapping[str, Registered] = {it.name: it for it in entries}
        if len(self.by_kind) != len(entries) or len(self.by_name) != len(entries):
            raise ConfigError("types: a class or a name is registered twice; give one of them register(cls, name=...)")

    def restore(self, parts: Any) -> Any:
        """The object of what `Registry.parts` made; raises ValueError for anything else.

        `Unreadable` for an object of a class that is not registered, or that has other fields here than where it was stored.
        """
        name, state = _name_and_state(parts)
        entry = self.by_name.get(name)
        if entry is None:
            how = f"delete nothing, register it: MsgpackCodec(types=[{name}])"
            raise Unreadable(f"of a class {name!r} that is not registered here; {how}")
        try:
            return entry.load(state)
        except MemoryError:
            raise
        except Exception as error:  # Not chained: these errors may quote what is stored.
            pass_on(error)
            how = "delete nothing, give this process the class that the writer has"
            raise Unreadable(f"its class {name!r} does not take it here ({type(error).__name__}); {how}") from None

    def parts(self, value: Any) -> list[Any]:
        """Name and state of an object whose class is registered; raises `InvalidValue` if it holds more than its fields."""
        entry = self.by_kind[type(value)]
        return [entry.name, entry.dump(value)]


class _Unopened:
    """An object that stays what was stored of it."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts


class Opaque(Registry):
    """Takes every registered object for what was stored of it, so that it can be compared with how it would be stored."""

    def __init__(self, max_depth: int) -> None:
        super().__init__((Registered(_Unopened, "", lambda value: value.parts, _Unopened),), max_depth)

    def restore(self, parts: Any) -> Any:
        _name_and_state(parts)
        return _Unopened(parts)

    def parts(self, value: Any) -> list[Any]:
        held: list[Any] = value.parts
        return held


def register(
    kind: type,
    name: str | None = None,
    *,
    dump: Callable[[Any], Any] | None = None,
    load: Callable[[Any], Any] | None = None,
) -> Registered:
    """`kind` for `MsgpackCodec(types=[...])`, stored under `name` (default: the class's own), which must stay the same.

    With `dump` and `load` these make and take something that the codec can store; whatever `load` does happens when
    stored bytes are read. Raises `ConfigError` for a class that cannot be taken apart without them.
    """
    if not isinstance(kind, type):
        raise ConfigError(f"types: {kind!r:.60} is no class; register(cls, name, dump=…, load=…) takes functions")
    name = kind.__name__ if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"types: a name is 1 to 100 letters, digits, '_', '.', ':' and '-', not {name!r:.40}")
    name = text_of(name)
    if (dump is None) != (load is None):
        raise ConfigError(f"types: {name} needs both dump= and load=")
    if dump is not None and load is not None:
        return Registered(kind, name, dump, load)
    return Registered(kind, name, *_ways(kind))


def _name_and_state(parts: Any) -> tuple[str, Any]:
    """The two of them, if `parts` can be of any registered class."""
    if type(parts) is list and len(parts) == 2 and type(parts[0]) is str and _NAME.fullmatch(parts[0]):
        return parts[0], parts[1]
    raise ValueError("no registered object")


def _ways(kind: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if issubclass(kind, enum.Enum):
        return _of_enum(kind)
    if hasattr(kind, "__pydantic_fields__"):
        return _of_pydantic(kind)
    if hasattr(kind, "__attrs_attrs__"):
        return _of_fields(kind, _attrs_defaults(kind))
    if dataclasses.is_dataclass(kind):
        return _of_fields(kind, _dataclass_defaults(kind))
    raise ConfigError(
        f"types: {kind.__name__} is no dataclass, Enum, attrs class or pydantic model; use"
        f" register({kind.__name__}, dump=…, load=…)"
    )


def _of_enum(kind: type[enum.Enum]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if issubclass(kind, enum.Flag):
        return (lambda member: member.value), kind
    return (lambda member: member.name), (lambda name: kind[name])


Default = Callable[[], Any] | None
"""Makes the value of a field that a stored object lacks; None: it must be there."""


def _of_fields(kind: type, defaults: Mapping[str, Default]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    names, put = list(defaults), object.__setattr__

    def dump(value: Any) -> dict[str, Any]:
        _refuse_more(value, kind, defaults)
        return {name: getattr(value, name) for name in names}

    def load(state: Any) -> Any:
        value: Any = object.__new__(kind)
        for name, item in _complete(state, defaults).items():
            put(value, name, item)  # frozen ones, too
        return value

    return dump, load


def _of_pydantic(kind: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    defaults: dict[str, Default] = {
        name: None if field.is_required() else functools.partial(field.get_default, call_default_factory=True)
        for name, field in kind.__pydantic_fields__.items()
    }

    def dump(value: Any) -> list[Any]:
        state = value.__getstate__()
        _refuse_more(value, kind, defaults)
        fields = {name: state["__dict__"][name] for name in defaults}
        given = sorted(state["__pydantic_fields_set__"])
        return [fields, state["__pydantic_extra__"], given, state["__pydantic_private__"]]

    def load(state: Any) -> Any:
        fields, extra, given, private = state
        value = kind.__new__(kind)
        value.__setstate__(
            {
                "__dict__": _complete(fields, defaults),
                "__pydantic_extra__": extra,
                "__pydantic_fields_set__": set(given),
                "__pydantic_private__": private,
            }
        )
        return value

    return dump, load


def _dataclass_defaults(kind: Any) -> dict[str, Default]:
    return {
        field.name: _default(field.default, field.default_factory, dataclasses.MISSING)
        for field in dataclasses.fields(kind)
    }


def _attrs_defaults(kind: Any) -> dict[str, Default]:
    import attr

    found: dict[str, Default] = {}
    for field in kind.__attrs_attrs__:
        if isinstance(field.default, attr.Factory):  # type: ignore[arg-type]  # a class, whatever its stub says
            factory: Any = field.default
            found[field.name] = None if factory.takes_self else factory.factory
        else:
            found[field.name] = _default(field.default, attr.NOTHING, attr.NOTHING)
    return found


def _default(value: Any, factory: Any, nothing: object) -> Default:
    if factory is not nothing:
        return factory  # type: ignore[no-any-return]  # a callable
    return None if value is nothing else lambda: value


def _complete(state: Any, defaults: Mapping[str, Default]) -> dict[str, Any]:
    """Exactly the fields of the class, from a stored `state`."""
    if type(state) is not dict or not state.keys() <= defaults.keys():
        raise ValueError("fields that the class does not have")
    complete = {}
    for name, default in defaults.items():
        item = state.get(name, _MISSING)
        if item is _MISSING:
            if default is None:
                raise ValueError("lacks a field that has no default")
            item = default()
        complete[name] = item
    return complete


def _refuse_more(value: Any, kind: type, fields: Mapping[str, Default]) -> None:
    """What is no field would be lost; a cached property makes itself again."""
    for name in getattr(value, "__dict__", ()):
        if name not in fields and not isinstance(getattr(kind, name, None), functools.cached_property):
            raise InvalidValue(f"is a {kind.__name__:.80} with the attribute {name:.80}, which is no field of it")
    for name in fields:
        if not hasattr(value, name):
            raise InvalidValue(f"is a {kind.__name__:.80} without its field {name:.80}")
