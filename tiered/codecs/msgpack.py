"""The default codec: MessagePack with types. What goes in comes out as what it was, or does not go in.

str, bytes, bool, None, float, int of 64 bits, list, and dict with str keys are plain MessagePack. Everything else is an
extension whose body is MessagePack again or a short text, so nothing stored is ever executed.

Equal values of the same types in the same order have the same payload. `decode` takes what `encode` writes, and besides
only spellings that are harmless and costly to tell from it: longer headers than needed, a float of 32 bits, a set out of
order, a plain map that has a key twice (the last counts) or a key that is no str. What they give, `encode` accepts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.msgpack import Decoder, Encoder

from tiered.codecs.base import MAX_DEPTH
from tiered.codecs.containers import ATOMS, REGISTERED, pack, plain, shallow, unpack, unpack_exactly
from tiered.codecs.refusal import refusal
from tiered.codecs.registered import Opaque, Registered, Registry
from tiered.codecs.scalars import RESTORERS, restore_exactly
from tiered.errors import Corrupt, InvalidValue, Unreadable
from tiered.handlers import pass_on

_NO_INT = ATOMS - {int}
_NOT_A_HEADER = bytes(set(range(256)) - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})
"""Every byte that opens neither an array nor a map."""
_TIMESTAMP = re.compile(
    rb"[\xd6\xd7]\xff|\xc7[\x04\x08\x0c]\xff|\xc8\x00[\x04\x08\x0c]\xff|\xc9\x00\x00\x00[\x04\x08\x0c]\xff"
)
"""MessagePack's own timestamp, which msgspec reads by itself; or a part of a number, a text or bytes."""


class MsgpackCodec:
    """Typed MessagePack. Thread-safe, as long as nobody changes a value while it is encoded.

    Objects of the classes in `types` can be stored, too (codecs/registered.py); values nest at most `max_depth` levels.
    """

    id = 1
    name = "msgpack"

    def __init__(self, types: Iterable[type | Registered] = (), *, max_depth: int = MAX_DEPTH) -> None:
        registry = Registry(types, max_depth)
        self._depth = max_depth
        self._form = _Form(registry)
        self._opaque = _Form(Opaque(max_depth))
        self._has_types = bool(registry.by_kind)
        self._decode_exactly = self._form.decode_exactly
        self.decode_trusted: Callable[[bytes], Any] = self._form.decode_trusted
        """`decode` for payloads that this process has checked already: as fast as it gets."""

    def encode(self, value: Any) -> bytes:
        """The payload of `value`; raises `InvalidValue` for what could not come back the same."""
        try:
            if type(value) in ATOMS or plain(value, self._depth):
                return _encode(value)
        except (OverflowError, UnicodeEncodeError, RuntimeError):  # RuntimeError: a dict that another thread changed
            pass
        return self._form.encode(value)

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`; raises `Corrupt`, or `Unreadable` if nothing is wrong but an object in it."""
        try:
            value = self._decode_exactly(payload)
            if type(value) in ATOMS or (len(payload) <= self._depth and 255 not in payload):
                return value
            self._check(value, payload)
        except Unreadable as error:
            raise self._damage(payload) or error from None
        except (Corrupt, MemoryError):  # said already; or what is stored is as it should be
            raise
        except Exception as error:  # also whatever the `__hash__` of a registered class raises at a forgery
            pass_on(error)
            raise _damaged(error) from None
        return value

    def _damage(self, payload: bytes) -> Corrupt | None:
        """What is wrong with `payload` whatever objects there are in it."""
        try:
            self._opaque.check(payload)
        except MemoryError:
            raise
        except Exception as error:
            pass_on(error)
            return _damaged(error)
        return None

    def _check(self, value: Any, payload: bytes) -> None:
        """Refuse what the decoder took but `encode` never writes, as far as a glance at the bytes cannot rule it out."""
        deep = len(payload.translate(None, _NOT_A_HEADER)) > self._depth
        timed = 255 in payload and _TIMESTAMP.search(payload)
        if self._has_types and (deep or timed):
            self._opaque.check(payload)  # objects hide how deep they are, and may have changed since they were stored
        elif deep and not shallow(value, self._depth):
            raise Corrupt(f"not a payload of this codec: nested deeper than {self._depth} levels (max_depth)")
        elif timed and self._form.encode(value) != payload:
            raise ValueError("a timestamp extension")


class _Form:
    """The general way, for every value."""

    def __init__(self, registry: Registry) -> None:
        self._registry, self._depth = registry, registry.max_depth
        self.decode_trusted = Decoder(ext_hook=self._restore).decode
        self.decode_exactly = Decoder(ext_hook=self._restore_exactly).decode

    def encode(self, value: Any) -> bytes:
        """The payload of `value`; raises `InvalidValue`, saying where."""
        try:
            try:
                return _encode(pack(value, self._depth, ATOMS, self._registry))
            except OverflowError:  # an int of more than 64 bits is somewhere in it
                return _encode(pack(value, self._depth, _NO_INT, self._registry))
        except RecursionError:
            raise
        except (ValueError, OverflowError, RuntimeError):
            raise InvalidValue(refusal(value, self._depth, self._reason)) from None

    def check(self, payload: bytes) -> None:
        """Raise ValueError if `encode` would not write this."""
        if self.encode(self.decode_exactly(payload)) != payload:
            raise ValueError("a timestamp extension, or not how values are written")

    def _reason(self, value: Any, room: int) -> str | None:
        """Why `value` cannot be stored with `room` levels left; None if it can."""
        try:
            _encode(pack(value, room, _NO_INT, self._registry))
        except UnicodeEncodeError:
            return "has a lone surrogate, which no encoding can store"
        except InvalidValue as error:
            return str(error)
        except (ValueError, OverflowError):
            return "is too large for MessagePack (4 GiB)"
        except RuntimeError:  # another thread changed it again
            return None
        return None

    def _restore(self, code: int, body: memoryview) -> Any:
        restore = RESTORERS.get(code)
        if restore is not None:
            return restore(bytes(body))
        parts = self.decode_trusted(body)
        return self._registry.restore(parts) if code == REGISTERED else unpack(code, parts)

    def _restore_exactly(self, code: int, body: memoryview) -> Any:
        if code in RESTORERS:
            return restore_exactly(code, bytes(body))
        parts = self.decode_exactly(body)
        return self._registry.restore(parts) if code == REGISTERED else unpack_exactly(code, parts)


_encode = Encoder().encode


def _damaged(error: Exception) -> Corrupt:
    """To be raised from None: most of these errors quote what is stored."""
    why = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return Corrupt(f"not a payload of this codec: {why}")
