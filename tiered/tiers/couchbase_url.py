"""Where a Couchbase bucket is, from a URL: couchbase://user:password@host[,host]/bucket[/scope/collection]."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from tiered.arguments import absolute
from tiered.errors import ConfigError
from tiered.urls import pieces

SCHEMES = ("couchbase", "couchbases")
DEFAULT = "_default"
_EXAMPLE = "couchbase://user:password@host/bucket"
_PORT = re.compile("[0-9]{1,5}")


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
    given = {"url": url, "user": user, "password": password, "certificate": certificate}
    for option, said in given.items():
        if said is not None and not isinstance(said, str):
            raise ConfigError(f"{name}: {option} must be a str, not {type(said).__name__}")
    parts = pieces(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ConfigError(f"{name}: give the URL of a bucket, as in {_EXAMPLE} (couchbases:// for TLS)")
    if parts.query:
        raise ConfigError(f"{name}: options belong to CouchbaseTier(…), not into its URL")
    if certificate is not None:
        certificate = _checked(certificate, parts.scheme, name)
    login, _, hosts = parts.netloc.rpartition("@")
    hosts = hosts.replace("%2C", ",").replace("%2c", ",")
    if not hosts.strip(","):
        raise ConfigError(f"{name}: the URL names no host, as in {_EXAMPLE}")
    _check_ports(hosts, name)
    own_user, _, own_password = login.partition(":")
    user, password = unquote(own_user) or user, unquote(own_password) or password
    if not user:
        raise ConfigError(f"{name}: Couchbase needs a user: {_EXAMPLE}, or user= and password=")
    bucket, scope, collection = _place(parts.path, name)
    return Address(f"{parts.scheme}://{hosts}", bucket, scope, collection, user, password or "", certificate)


def _checked(certificate: str, scheme: str, name: str) -> str:
    """Its path, which is read for each connection."""
    if scheme != "couchbases":
        raise ConfigError(f"{name}: a certificate needs TLS: write couchbases://…")
    if not Path(certificate).is_file():
        raise ConfigError(f"{name}: certificate names a file that is not there")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:  # the SDK would say no more than that it cannot connect
        raise ConfigError(
            f"{name}: certificate names a file without certificates in PEM form, or no readable one"
        ) from error
    return str(absolute(certificate, f"{name}: certificate"))


def _check_ports(hosts: str, name: str) -> None:
    """The SDK takes any, and finds nobody there; a password with a / in it ends here, too."""
    for host in hosts.split(","):
        port = host.rpartition("]")[2].partition(":")[2].partition("=")[0]  # the SDK knows host:port=protocol
        if ":" in host.rpartition("]")[2] and not (_PORT.fullmatch(port) and 0 < int(port) < 65_536):
            raise ConfigError(f"{name}: a port is a number from 1 to 65535; in a password write / as %2F, @ as %40")


def _place(path: str, name: str) -> tuple[str, str, str]:
    """Bucket, scope and collection."""
    if "@" in path:  # no name has one
        raise ConfigError(f"{name}: in a password write / as %2F, @ as %40")
    names = [unquote(part) for part in path.strip("/").split("/")]
    if not names[0] or len(names) not in (1, 3) or not all(names):
        raise ConfigError(f"{name}: the URL's path is /bucket or /bucket/scope/collection, as in {_EXAMPLE}")
    bucket, scope, collection = names if len(names) == 3 else (names[0], DEFAULT, DEFAULT)
    return bucket, scope, collection
