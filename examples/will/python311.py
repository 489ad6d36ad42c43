"""What Will 2.1.3 needs to run on Python 3.11; imported before Will is. It was written for `inspect` and PyCrypto of old."""

import inspect
from collections.abc import Callable
from typing import Any

from Crypto.Cipher import AES


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _of_text(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, which takes bytes only, for callers that hand it text, too."""

    def takes_text(*args: Any, **options: Any) -> Any:
        return method(*map(_bytes, args), **options)

    return takes_text


class _Cipher:
    """PyCrypto took str for data; its successor does not."""

    def __init__(self, cipher: Any) -> None:
        self.encrypt, self.decrypt = _of_text(cipher.encrypt), _of_text(cipher.decrypt)


_new = _of_text(AES.new)


def _new_cipher(*args: Any, **options: Any) -> _Cipher:
    return _Cipher(_new(*args, **options))


inspect.getargspec = inspect.getfullargspec
AES.new = _new_cipher
