"""The keys that Will's plugins use, as keys of a store: any plain str as it is, everything else encoded, none twice.

A str keeps its name, so that `tiered get NAME` finds it. What cannot be a key, or could be mistaken for an encoded one,
becomes `tiered:key:` and its typed encoding in base64; what is too long for any tier, `tiered:sha256:` and its digest.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

from tiered.codecs.msgpack import MsgpackCodec
from tiered.errors import InvalidKey, InvalidValue

MAX_BYTES = 200
"""Of a key in the store: below every tier's own limit, so that a key is called the same whatever the chain."""
ENCODED, DIGEST = "tiered:key:", "tiered:sha256:"
_HAVE_NO_ORDER = (dict, set, frozenset)

_encode = MsgpackCodec().encode


def stored_name(key: object) -> str:
    """The store's key for a key of Will's; raises `InvalidKey` for an object that would not be found again.

    A lone surrogate may be in a str, but in no other key.
    """
    if isinstance(key, str):
        return _of_text(str.__str__(key))  # of a subclass, the text that it is equal to
    return _named(b"o" + _typed(key))


def _of_text(key: str) -> str:
    try:
        raw = key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return _named(b"s" + key.encode("utf-8", "surrogatepass"))
    plain = 0 < len(raw) <= MAX_BYTES and not key.startswith((ENCODED, DIGEST))
    return key if plain else _named(b"s" + raw)


def _named(raw: bytes) -> str:
    name = ENCODED + urlsafe_b64encode(raw).decode()
    return name if len(name) <= MAX_BYTES else DIGEST + sha256(raw).hexdigest()


def _typed(key: object) -> bytes:
    _refuse_disorder(key)
    try:
        return _encode(key)
    except InvalidValue as error:
        raise InvalidKey(f"a {type(key).__name__} cannot be a key: {error}") from None


def _refuse_disorder(key: Any) -> None:
    """Equal sets and dicts may list their elements in another order, and so would not be found again."""
    if isinstance(key, _HAVE_NO_ORDER):
        raise InvalidKey(f"a {type(key).__name__} cannot be a key, nor a part of one: use a sorted tuple")
    if isinstance(key, (tuple, list)):
        for part in key:
            _refuse_disorder(part)
