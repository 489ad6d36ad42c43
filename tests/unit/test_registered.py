"""Classes of one's own in the default codec: lossless or refused, and nothing that was not registered."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import attr
import msgspec
import pydantic
import pytest
from msgspec.msgpack import Ext

from tiered import MemoryTier, TieredBackend
from tiered.codecs import MsgpackCodec, register
from tiered.codecs.containers import REGISTERED, SET
from tiered.errors import ConfigError, Corrupt, InvalidValue, Unreadable


class Color(enum.Enum):
    RED = 1
    SKY = ("light", "blue")


class Level(enum.IntEnum):
    LOW = 1


class Kind(enum.StrEnum):
    BOT = "bot"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class User:
    name: str
    color: Color
    tags: tuple[str, ...] = ()
    best: User | None = None
    seen: datetime | None = None
    made: list[int] = field(default_factory=list, init=False)

    @cached_property
    def shout(self) -> str:
        return self.name.upper()


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


@attr.define
class Slotted:
    a: int
    b: list[int] = attr.Factory(list)


@attr.s(auto_attribs=True, frozen=True)
class Frozen:
    a: int
    _hidden: str = "h"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    id: int = pydantic.Field(alias="identifier")
    point: Point | None = None
    at: datetime | None = None
    _secret: int = pydantic.PrivateAttr(default=7)


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and other.degrees == self.degrees

    def __repr__(self) -> str:
        return f"{self.degrees} °C"


TYPES = [
    *(Color, Level, Kind, Rights, User, Point, Slotted, Frozen, Item),
    register(Celsius, "temperature", dump=lambda it: it.degrees, load=Celsius),
]
CODEC = MsgpackCodec(types=TYPES)


def user() -> User:
    made = User("Ada", Color.SKY, ("a",), best=User("Bob", Color.RED), seen=datetime(2026, 1, 1, tzinfo=UTC))
    made.made.append(2**70)
    return made


def item() -> Item:
    made = Item(identifier=7, point=Point(1, 2), more={"x": (1, 2)})  # type: ignore[call-arg]  # extra fields are allowed
    made._secret = 9
    return made


VALUES: list[Any] = [
    *(Color.RED, Color.SKY, Level.LOW, Kind.BOT, Rights.READ | Rights.WRITE, Rights(0)),
    *(Point(1, 2), Slotted(1, [2]), Frozen(1, "x"), Celsius(-1.5), user(), item()),
    [user(), {Point(1): {Color.RED, Kind.BOT}}, (item(), Celsius(2.0))],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_an_object_comes_back_as_what_it_was(value: Any) -> None:
    payload = CODEC.encode(value)
    for back in (CODEC.decode(payload), CODEC.decode_trusted(payload)):
        assert (
            back == value and type(back) is type(value) and sorted(repr(back)) == sorted(repr(value))
        )  # sets have no order
    assert CODEC.encode(CODEC.decode(payload)) == payload


def test_what_is_no_field_of_a_model_comes_back_too() -> None:
    back = CODEC.decode(CODEC.encode(item()))
    assert back._secret == 9 and back.more == {"x": (1, 2)} and back.model_fields_set == item().model_fields_set


def test_reading_runs_neither_init_nor_validators() -> None:
    below = object.__new__(Point)
    object.__setattr__(below, "x", -5)
    object.__setattr__(below, "y", 0)
    assert CODEC.decode(CODEC.encode(below)) == below


def test_only_what_is_registered_is_stored_or_made() -> None:
    plain = MsgpackCodec()
    for value in (Point(1), Color.RED, [Kind.BOT], {"a": Level.LOW}):
        with pytest.raises(InvalidValue, match=r"register its class: MsgpackCodec\(types=\["):
            plain.encode(value)
        with pytest.raises(Unreadable, match=r"not registered here; delete nothing, register it: MsgpackCodec\(types="):
            plain.decode(CODEC.encode(value))

    class Sub(User):
        pass

    with pytest.raises(InvalidValue, match="Sub"):
        CODEC.encode(Sub("x", Color.RED))


def test_what_would_be_lost_is_refused() -> None:
    more = user()
    more.extra = 1  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(InvalidValue, match="attribute extra"):
        CODEC.encode([more])
    less = object.__new__(Point)
    with pytest.raises(InvalidValue, match="without its field x"):
        CODEC.encode(less)
    with pytest.raises(InvalidValue, match="object"):
        CODEC.encode(User("x", Color.RED, tags=object()))  # type: ignore[arg-type]  # that is the point
    cached = user()
    assert cached.shout == "ADA" and CODEC.decode(CODEC.encode(cached)) == cached


def test_fields_that_the_class_has_got_since_have_their_defaults() -> None:
    old = dataclasses.make_dataclass("User", [("name", str), ("color", Any)])
    payload = MsgpackCodec(types=[old, Color]).encode(old("Ada", Color.RED))
    assert CODEC.decode(payload) == User("Ada", Color.RED) == CODEC.decode(payload + b"")
    assert CODEC.decode(payload).made is not CODEC.decode(payload).made
    for fields in ([("name", str)], [("name", str), ("color", Any), ("gone", int)]):
        other = dataclasses.make_dataclass("User", fields)
        with pytest.raises(Unreadable, match="its class 'User' does not take it here"):
            CODEC.decode(MsgpackCodec(types=[other]).encode(other(*range(len(fields)))))


def test_damage_beside_an_object_that_is_not_known_is_damage() -> None:
    unknown, timed = CODEC.encode(Point(1)), b"\xd6\xff\0\0\0\1"
    twice = msgspec.msgpack.encode(Ext(SET, b"\x92\x01\x01"))
    for payload in (
        unknown[:-1],
        unknown + b"x",
        b"\x92" + unknown,
        *(b"\x92" + unknown + it for it in (timed, twice)),
    ):
        with pytest.raises(Corrupt):
            MsgpackCodec().decode(payload)
    with pytest.raises(Corrupt):
        MsgpackCodec(max_depth=3).decode(CODEC.encode([[[[Point(1)]]]]))


def crafted(body: Any) -> bytes:
    return msgspec.msgpack.encode(Ext(REGISTERED, msgspec.msgpack.encode(body)))


@pytest.mark.parametrize(
    "body",
    [[], None, "User", ["User"], [b"User", {}], ["Point", {"x": 1}, 1], ["", {}], ["a\nb", {}], ["x" * 101, {}]],
    ids=repr,
)
def test_a_crafted_extension_is_corrupt(body: Any) -> None:
    for codec in (CODEC, MsgpackCodec()):
        with pytest.raises(Corrupt):
            codec.decode(crafted(body))


@pytest.mark.parametrize(
    "body",
    [
        *(["User", {}], ["User", []], ["User", {"name": 1, "color": 2, "no": 3}], ["Color", "NONE"], ["Color", 1]),
        *(["os.system", "true"], ["builtins.eval", "1"], ["Rights", "x"], ["Item", []], ["Item", [1, 2, 3, 4]]),
        ["Item", [{}, None, [], None]],
    ],
    ids=repr,
)
def test_what_no_class_here_takes_is_unreadable_and_runs_nothing(body: Any) -> None:
    with pytest.raises(Unreadable):
        CODEC.decode(crafted(body))


@dataclass(frozen=True)
class Name:
    text: str

    def __hash__(self) -> int:
        return hash(self.text.lower())


def test_whatever_a_class_raises_at_a_forgery_is_a_codec_error() -> None:
    codec = MsgpackCodec(types=[Name, register(Color, dump=lambda it: it.name, load=lambda it: Color[it.upper()])])
    unhashable = Ext(SET, msgspec.msgpack.encode([Ext(REGISTERED, msgspec.msgpack.encode(["Name", {"text": 5}]))]))
    with pytest.raises(Unreadable, match="AttributeError"):
        codec.decode(crafted(["Color", 5]))
    with pytest.raises(Corrupt, match="AttributeError"):
        codec.decode(msgspec.msgpack.encode(unhashable))


def test_objects_count_for_the_depth_on_both_sides() -> None:
    deep = Slotted(1)
    for _ in range(20):
        deep = Slotted(1, [deep])  # type: ignore[list-item]  # as deep as we like
    payload = CODEC.encode(deep)
    assert CODEC.decode(payload) == deep
    narrow = MsgpackCodec(types=TYPES, max_depth=20)
    with pytest.raises(InvalidValue, match="20 levels"):
        narrow.encode(deep)
    with pytest.raises(Corrupt):
        narrow.decode(payload)


@pytest.mark.parametrize(
    "types",
    [[object()], [int], [Celsius], [User, User], [register(Point, "User"), User], ["User"]],
)
def test_types_that_cannot_be_registered(types: Any) -> None:
    with pytest.raises(ConfigError, match="types: "):
        MsgpackCodec(types=types)
    with pytest.raises(ConfigError, match="both"):
        register(Celsius, dump=str)
    with pytest.raises(ConfigError, match="name"):
        register(User, "no name")


def test_in_a_store() -> None:
    with TieredBackend([MemoryTier()], codec=CODEC) as store:
        store.set("user", user())
        got = store.get("user")
        got.made.append(1)
        assert store.get("user") == user()
        assert store.update("user", lambda it: dataclasses.replace(it, name="Eve")).name == "Eve"
