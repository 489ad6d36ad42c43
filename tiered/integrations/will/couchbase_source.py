"""The bucket of Will's own Couchbase backend: a document per key, without a prefix, among whatever else lives there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from couchbase import subdocument
from couchbase.exceptions import (
    CouchbaseException,
    DocumentNotFoundException,
    FeatureUnavailableException,
    UnsupportedOperation,
)
from couchbase.kv_range_scan import RangeScan
from couchbase.transcoder import Transcoder

from tiered.clock import SYSTEM_CLOCK
from tiered.entry import MAGIC
from tiered.errors import ConfigError, Reason, StoreUnavailable
from tiered.integrations.will.couchbase_url import couchbase_address
from tiered.integrations.will.source import Kept
from tiered.tiers.couchbase_connection import Connection
from tiered.tiers.couchbase_documents import unpack
from tiered.tiers.couchbase_errors import store_error

TIMEOUT = 10.0
OURS = tuple(f"tiered{mark}" for mark in ":!~")
"""How the documents of a tier begin, unless it has another prefix."""
_EXPIRY = "$document.exptime"
_JSON, _PICKLE, _BYTES, _TEXT = range(4)
_COMMON = {1: _PICKLE, 2: _JSON, 3: _BYTES, 4: _TEXT}
"""Formats in five of the highest bits of a document's flags, upon which all clients have agreed."""
_LEGACY = {1: _PICKLE, 2: _BYTES, 4: _TEXT}
"""What the Python client wrote before, in the lowest; 0 is JSON, or another program's bytes."""
_Result = TypeVar("_Result")


class CouchbaseSource:
    """Reads the documents whose ids match the glob `match`, and changes nothing.

    `url` is a COUCHBASE_URL. The ids are those in the file `keys`, one a line or as an array in JSON; without it, all that
    are in the bucket, for which a server of version 7.6 or later is needed.
    """

    def __init__(self, url: str, match: str = "*", keys: str | None = None) -> None:
        self.left_out = Counter[str]()
        self._match, self._listed = match, None if keys is None else _listed(Path(keys))
        self._connection = Connection(
            couchbase_address(url), name="will", timeout=TIMEOUT, connect_timeout=TIMEOUT, clock=SYSTEM_CLOCK
        )

    def count(self) -> int:
        return len(self._ids())

    def values(self) -> Iterator[Kept]:
        self.left_out.clear()
        for id in self._ids():
            kept = self._read(id)
            if isinstance(kept, str):
                self.left_out[kept] += 1
            elif kept is not None:
                yield kept

    def close(self) -> None:
        self._connection.close()

    def _ids(self) -> list[str]:
        ids = self._scanned() if self._listed is None else self._listed
        return [id for id in ids if fnmatchcase(id, self._match)]

    def _scanned(self) -> list[str]:
        def ask(collection: Any) -> list[str]:
            try:
                return [found.id for found in collection.scan(RangeScan(), ids_only=True)]
            except (FeatureUnavailableException, UnsupportedOperation) as error:
                message = (
                    "listing the documents of a bucket needs a range scan, which Couchbase Server offers from version 7.6 on;"
                    " for this one give their ids in a file: --keys FILE"
                )
                raise StoreUnavailable(message, tier="will", reason=Reason.MISUSE) from error

        return self._ask(ask)

    def _read(self, id: str) -> Kept | str | None:
        """What is kept under `id`, or what it is instead; None if a scan found it, and it has expired since."""
        if id.startswith(OURS):
            return "key of tiered"

        def ask(collection: Any) -> tuple[tuple[bytes, int], float | None] | None:
            try:
                return collection.get(id, transcoder=_AsItIs()).value, expires_at(collection, id)
            except DocumentNotFoundException:
                return None

        found = self._ask(ask)
        if found is None:
            return None if self._listed is None else "key of the list without a document"
        (body, flags), expiry = found
        value = _value(body, flags)
        return value if isinstance(value, str) else Kept(id, value, expiry)

    def _ask(self, ask: Callable[[Any], _Result]) -> _Result:
        try:
            return ask(self._connection.collection(write=False))
        except (CouchbaseException, RuntimeError) as error:
            raise store_error(error, "will", write=False) from error


def expires_at(collection: Any, id: str) -> float | None:
    """Unix seconds, None for never. Not by get(…, with_expiry): that ends the process where the server does not tell."""
    found = collection.lookup_in(id, [subdocument.get(_EXPIRY, xattr=True)])
    if not found.exists(0):  # for ever would be a guess
        message = "the server does not tell when a document expires; Couchbase Server does, from version 5.0 on"
        raise StoreUnavailable(message, tier="will", reason=Reason.MISUSE)
    return float(found.content_as[int](0)) or None


class _AsItIs(Transcoder):  # type: ignore[misc]  # the SDK's, untyped
    """A document's body, and its flags, in which clients say how they have written it."""

    def encode_value(self, value: Any) -> tuple[bytes, int]:
        raise NotImplementedError  # nothing is written here

    def decode_value(self, value: bytes, flags: int) -> tuple[bytes, int]:
        return bytes(value), flags


def _value(body: bytes, flags: int) -> bytes | str:
    """What Will had given to its client, which wrote text as JSON; or what the document is instead."""
    if unpack(body).frame.startswith(MAGIC):
        return "key of tiered"
    kind = _COMMON.get(flags >> 24 & 0x1F, _LEGACY.get(flags & 7, _JSON))
    if kind == _PICKLE:
        return "pickled by the client (Will saves text), and nothing is unpickled here"
    return body if kind in (_BYTES, _TEXT) else _text(body)


def _text(body: bytes) -> bytes | str:
    try:
        value = json.loads(body)
    except ValueError:  # bytes of a program that sets no flags
        return body
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else "JSON, not of Will's"


def _listed(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(f"--keys: {path} cannot be read: {why}") from error
    try:
        listed = json.loads(text)
    except ValueError:
        listed = None
    if isinstance(listed, dict):  # the whole answer to a query
        listed = listed.get("results", listed)
    if not isinstance(listed, (dict, list)):  # a key such as 7 is JSON, too
        listed = text.split("\n")  # not at what Unicode calls a new line: a key may have it
    elif isinstance(listed, dict) or not all(isinstance(id, str) for id in listed):
        raise ConfigError(
            f'--keys: {path} is JSON, but no list of keys, as in ["a", "b"]; for the query: SELECT RAW META().id FROM bucket'
        )
    return list(dict.fromkeys(filter(None, listed)))
