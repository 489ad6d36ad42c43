"""Where a Couchbase bucket is, from a URL: couchbase://user:password@host[,host]/bucket[/scope/collection]."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from tiered.errors import ConfigError
from tiered.urls import pieces

SCHEMES = ("couchbase", "couchbases")
DURABILITY = ("none", "majority", "majority_and_persist_active", "persist_to_majority")
DEFAULT = "_default"
_EXAMPLE = "couchbase://user:password@host/bucket"


@dataclass(frozen=True, slots=True)
class Address:
    """A collection of a bucket, and who asks."""

    connection: str
    """What the SDK calls a connection string; no user and no password in it."""
    bucket: str
    scope: str
    collection: str
    user: str
    password: str = field(repr=False)
    certificate: str | None = None
    """A file with the certificates to trust."""

    @property
    def max_id_bytes(self) -> int:
        """The server's limit for a document's id: named collections take some of it for themselves."""
        return 250 if (self.scope, self.collection) == (DEFAULT, DEFAULT) else 246


def address_of(
    url: str, name: str, *, user: str | None = None, password: str | None = None, certificate: str | None = None
) -> Address:
    """The address in `url`, checked; no message shows what might be part of a password."""
    parts = pieces(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ConfigError(f"{name}: give the URL of a bucket, as in {_EXAMPLE} (couchbases:// for TLS)")
    if parts.query:
        raise ConfigError(f"{name}: options belong to CouchbaseTier(…), not into its URL")
    if certificate is not None and parts.scheme != "couchbases":
        raise ConfigError(f"{name}: a certificate needs TLS: write couchbases://…")
    login, _, hosts = parts.netloc.rpartition("@")
    hosts = hosts.replace("%2C", ",").replace("%2c", ",")
    if not hosts.strip(","):
        raise ConfigError(f"{name}: the URL names no host, as in {_EXAMPLE}")
    own_user, _, own_password = login.partition(":")
    user, password = unquote(own_user) or user, unquote(own_password) or password
    if not user:
        raise ConfigError(f"{name}: Couchbase needs a user: {_EXAMPLE}, or user= and password=")
    bucket, scope, collection = _place(parts.path, name)
    return Address(f"{parts.scheme}://{hosts}", bucket, scope, collection, user, password or "", certificate)


def _place(path: str, name: str) -> tuple[str, str, str]:
    """Bucket, scope and collection."""
    names = [unquote(part) for part in path.strip("/").split("/")]
    if not names[0] or len(names) not in (1, 3) or not all(names):
        raise ConfigError(f"{name}: the URL's path is /bucket or /bucket/scope/collection, as in {_EXAMPLE}")
    bucket, scope, collection = names if len(names) == 3 else (names[0], DEFAULT, DEFAULT)
    return bucket, scope, collection
