"""Secret keys by id, from the environment, a file, a mapping or a callable, and read again while running."""

from __future__ import annotations

import base64
import binascii
import fcntl
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TextIO

from tiered.arguments import absolute, expanded, text_of
from tiered.errors import ConfigError

logger = logging.getLogger(__name__)

KEY_BYTES = 32
MOST_KEYS = 64
MOST_TEXT = 64 * 1024
REFRESH = 30.0
"""Seconds after which a source is read again, so that a new key is used without a restart."""
RETRY = 1.0
"""Seconds between two looks for a key that is not there."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_HELP = "write id:base64 of 32 random bytes, one a line, the first one for writing; `tiered keygen` makes one"

Material = str | Mapping[str, bytes]
Source = Material | Callable[[], Material]


class Key(NamedTuple):
    """A secret and its id; neither printed nor logged."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"<Key {self.id}>"


class Keyring:
    """The keys of a store: the first is written with, all are read with. Thread-safe.

    `source` is "env:NAME" or "file:PATH", where the text is (`parse`), a mapping of ids to 32 bytes, or a callable that
    returns such a text or mapping. All but a mapping are read again every `refresh` seconds, and when a frame names a key
    that is not known; while that fails, the keys of before stay. Raises `ConfigError` if they cannot be read at first.
    """

    def __init__(self, source: Source, *, refresh: float = REFRESH, clock: Callable[[], float] = monotonic) -> None:
        self._read, self._fixed = _reader(source), isinstance(source, Mapping)
        self._refresh, self._clock = refresh, clock
        self._failing = False
        self._epochs = count(1)
        self.epoch = 0
        """Changes with the keys, and after them: what was made of an older key is found to be of an older epoch."""
        self._keys = _checked(self._read())
        self._looked = clock()

    @property
    def current(self) -> Key:
        """The key to write with."""
        return next(iter(self._keys.values()))

    def refresh(self) -> None:
        """Read the source again if it is time."""
        if not self._fixed and self._clock() - self._looked > self._refresh:
            self.reload()

    def find(self, id_: str) -> Key | None:
        """The key of that id, after another look at the source if need be; None if there is none."""
        found = self._keys.get(id_)
        if found is None and not self._fixed and self._clock() - self._looked > RETRY:
            self.reload()
            found = self._keys.get(id_)
        return found

    @property
    def ids(self) -> list[str]:
        """The ids of all keys, the one to write with first."""
        return list(self._keys)

    def reload(self) -> None:
        """Read the source again now; if that fails, log it once and keep the keys."""
        self._looked = self._clock()
        try:
            keys = _checked(self._read())
        except ConfigError as error:
            if not self._failing:
                logger.warning("keys could not be read again, those of before stay in use: %s", error)
            self._failing = True
            return
        if self._failing:
            logger.info("keys can be read again")
        self._failing = False
        if list(keys.values()) != list(self._keys.values()):
            self._keys = keys
            self.epoch = next(self._epochs)  # no two have the same, whoever comes in between
            logger.info("keys were read again: writing with %s, reading with %s", next(iter(keys)), ", ".join(keys))

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self.ids)}>"


def keyring_of(keys: Keyring | Source) -> Keyring:
    """`keys` as a `Keyring`."""
    return keys if isinstance(keys, Keyring) else Keyring(keys)


def new_key(id_: str) -> str:
    """A line for a key file: a new random key under `id_`."""
    _check_id(id_)
    return f"{id_}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def append_key(path: Path, line: str) -> None:
    """Put the key `line` at the end of the key file `path`, which is made with mode 0600 if it is not there.

    Raises `ConfigError`, with nothing written, if others may read or change it, or it has a key of that id.
    """
    try:
        with open(path, "a+", encoding="utf-8", opener=_opener) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two with one id would make a file that is refused
            file.seek(0)
            known = _text_of(file, path)
            parse(f"{known}\n{line}")
            _append(file.fileno(), line + "\n" if not known or known.endswith("\n") else f"\n{line}\n")
    except OSError as error:
        raise ConfigError(f"keys: cannot write {path}: {error.strerror}") from error


def _append(descriptor: int, text: str) -> None:
    """All of it or nothing: with half a key the file would be refused by everybody."""
    before, rest = os.fstat(descriptor).st_size, text.encode()
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)  # what is encrypted with a key must not outlive it
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


def parse(text: str) -> dict[str, bytes]:
    """The keys in `text`: id:base64, separated by commas or white space; # comments out the rest of a line.

    Raises `ConfigError`; no message holds more than an id that is well-formed.
    """
    if len(text) > MOST_TEXT:
        raise ConfigError(f"keys: more than {MOST_TEXT} characters; {_HELP}")
    keys: dict[str, bytes] = {}
    for line in text.splitlines():
        for word in re.split(r"[,\s]+", line.partition("#")[0].strip()):
            if word:
                id_, secret = _parse_one(word)
                if id_ in keys:
                    raise ConfigError(f"keys: the id {id_} is there twice")
                keys[id_] = secret
    return keys


def _parse_one(word: str) -> tuple[str, bytes]:
    id_, colon, secret = word.partition(":")
    if not colon or not _ID.fullmatch(id_):
        raise ConfigError(f"keys: what is no id:base64 is among them; {_HELP}")
    try:
        return id_, base64.b64decode(secret, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError(f"keys: the key {id_} is no base64; {_HELP}") from None


def _checked(material: Material) -> dict[str, Key]:
    if isinstance(material, str):
        material = parse(material)
    if not isinstance(material, Mapping) or not material or len(material) > MOST_KEYS:
        raise ConfigError(f"keys: give 1 to {MOST_KEYS} of them; {_HELP}")
    keys = [Key(_check_id(id_), _check_secret(id_, secret)) for id_, secret in material.items()]
    return {key.id: key for key in keys}


def _check_id(id_: object) -> str:
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise ConfigError("keys: an id is 1 to 32 ASCII letters, digits, '.', '_' and '-'")
    return text_of(id_)


def _check_secret(id_: str, secret: object) -> bytes:
    if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
        raise ConfigError(f"keys: the key {id_} must have {KEY_BYTES} bytes; {_HELP}")
    return secret


def _reader(source: Source) -> Callable[[], Material]:
    if callable(source):
        return lambda: _called(source)
    if isinstance(source, Mapping):
        return lambda: source
    kind, _, where = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind == "env" and where:
        return lambda: _from_environment(where)
    if kind == "file" and where:
        path = absolute(expanded(where), "keys")
        return lambda: _from_file(path)
    # The value is not shown: somebody may have given the key itself.
    raise ConfigError("keys: give env:NAME or file:PATH, a mapping of ids to 32 bytes, or a callable")


def _called(source: Callable[[], Material]) -> Material:
    try:
        return source()
    except Exception as error:
        # Whatever a key service raises; not chained: its text may hold what it was asked for.
        raise ConfigError(f"keys: the callable failed with {type(error).__name__}") from None


def _from_environment(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise ConfigError(f"keys: the environment has no {name}; {_HELP}")
    return text


def _from_file(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", opener=_opener) as file:
            return _text_of(file, path)
    except OSError as error:
        raise ConfigError(f"keys: cannot read {path}: {error.strerror}") from error


def _opener(name: str, flags: int) -> int:
    # A pipe that nobody writes to would be waited for, here and at every other look.
    return os.open(name, flags | os.O_NONBLOCK, 0o600)


def _text_of(file: TextIO, path: Path) -> str:
    """What is in an open key file, if it is one, and only for its user."""
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        raise ConfigError(f"keys: {path} is no file; {_HELP}")
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ConfigError(f"keys: {path} may be read or changed by others; chmod 600 {path}")
    try:
        return file.read(MOST_TEXT + 1)
    except UnicodeDecodeError:
        raise ConfigError(f"keys: {path} is no UTF-8 text; {_HELP}") from None
