"""Pickle and dill: any object, and any program. Only for payloads that a key vouches for.

Reading a pickle runs what its writer wanted. A store with one of these codecs therefore needs `keys`, encrypts or signs
every frame, and opens no other; the algorithm is that of its configuration, never one that stored bytes name.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

from tiered.errors import CodecError, Corrupt, InvalidValue, Unreadable
from tiered.extras import missing
from tiered.handlers import pass_on

PROTOCOL = 5


class PickleCodec:
    """Python's pickle. Thread-safe, as long as nobody changes a value while it is encoded."""

    id = 4
    name = "pickle"
    needs_authentication = True

    def encode(self, value: Any) -> bytes:
        """The payload of `value`; raises `InvalidValue` for what cannot be pickled."""
        try:
            return self._dumps(value)
        except Exception as error:  # whatever the `__reduce__` of a class raises
            pass_on(error)
            message = f"value cannot be pickled: a {type(value).__name__:.80} ({type(error).__name__})"
            raise InvalidValue(message) from error

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`, whose writer is trusted; raises `Corrupt`, or `Unreadable` without its classes."""
        try:
            return self._loads(payload)
        except Exception as error:  # whatever the `__setstate__` of a class raises
            pass_on(error)
            raise _unusable(error) from error

    def _dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, PROTOCOL)

    def _loads(self, payload: bytes) -> Any:
        return pickle.loads(payload)


class DillCodec(PickleCodec):
    """dill: functions, lambdas and classes of `__main__`, too."""

    id = 5
    name = "dill"

    def __init__(self) -> None:
        try:
            self._dill: Any = import_module("dill")  # it has no types
        except ImportError as error:
            raise missing("codec dill needs the dill package", "dill") from error

    def _dumps(self, value: Any) -> bytes:
        made: bytes = self._dill.dumps(value, PROTOCOL)
        return made

    def _loads(self, payload: bytes) -> Any:
        return self._dill.loads(payload)


def _unusable(error: Exception) -> CodecError:
    what = f"cannot be unpickled here: {type(error).__name__}"
    if isinstance(error, ImportError | AttributeError):
        return Unreadable(f"{what}; delete nothing, give this process the module and the class that the writer has")
    return Corrupt(what)
