"""Where a RedisTier connects to: URLs checked before anything is opened, as connections that redis-py makes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from tiered.errors import ConfigError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
OPTIONS = ("db", "username", "password", "client_name", "socket_keepalive")
TLS_OPTIONS = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs"),
    *("ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_validate_ocsp"),
)
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
Address = tuple[str, int]


class Target(NamedTuple):
    """`make(**arguments)` is a new, unconnected redis-py connection."""

    make: Callable[..., Any]
    arguments: dict[str, Any]
    owner: object = None
    """What must live as long as the connections."""


def target(
    url: str | None,
    client: redis.Redis | None,
    *,
    name: str,
    connect_timeout: float,
    timeout: float,
    insecure_tls: bool,
) -> Target:
    """Where `url`, or `client`, connects to, with our time limits and no retries. Opens nothing."""
    limits: dict[str, Any] = {
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "protocol": 2,
        "driver_info": None,  # two CLIENT SETINFO per connection otherwise
    }
    if client is not None:
        if url is not None or not isinstance(client, redis.Redis):
            raise ConfigError(f"{name}: give a URL or client=, a redis.Redis (not asyncio, not cluster)")
        return _of_pool(client.connection_pool, limits)
    url = "redis://localhost:6379/0" if url is None else url
    check_url(url, name, insecure_tls)
    parts = urlsplit(url)
    try:
        if parts.scheme.endswith("+sentinel"):
            return _of_sentinel(parts, limits)
        return _of_pool(redis.ConnectionPool.from_url(url), limits)
    except ValueError as error:  # redis-py names the option, not its value
        raise ConfigError(f"{name}: {error}") from None


def check_url(url: str, name: str, insecure_tls: bool) -> None:
    """Refuse a URL that cannot work; no message holds its password."""
    if not isinstance(url, str):
        raise ConfigError(f"{name}: a URL is a str such as redis://localhost:6379/0, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        close = difflib.get_close_matches(parts.scheme, SCHEMES, 1)
        meant = f"did you mean {close[0]}://?" if close else f"use {', '.join(f'{it}://' for it in SCHEMES)}"
        raise ConfigError(f"{name}: unknown scheme {parts.scheme!r}; {meant}")
    options = parse_qs(parts.query, keep_blank_values=True)
    _check_options(name, parts.scheme, list(options))
    for host, port in _addresses(parts, name):
        if not host and parts.scheme.endswith("+sentinel"):
            raise ConfigError(f"{name}: every address of {parts.scheme}:// needs a host, as in host1:7000,host2:7000")
        if not 0 < port < 65_536:
            raise ConfigError(f"{name}: the port in the Redis URL must be from 1 to 65535")
    _check_path(parts, name)
    if options.get("ssl_cert_reqs", ["required"])[0].lower() in ("none", "cert_none") and not insecure_tls:
        raise ConfigError(
            f"{name}: ssl_cert_reqs=none lets anyone pose as the server; if you mean it, insecure_tls=True"
        )


def _check_options(name: str, scheme: str, given: list[str]) -> None:
    known = OPTIONS + (TLS_OPTIONS if scheme.startswith("rediss") else ())
    known += SENTINEL_OPTIONS if scheme.endswith("+sentinel") else ()
    for option in given:
        if option in known:
            continue
        if option in TLS_OPTIONS:
            raise ConfigError(f"{name}: {option} in the Redis URL needs rediss://")
        close = difflib.get_close_matches(option, known, 1)
        meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
        raise ConfigError(f"{name}: unknown option {option!r} in the Redis URL{meant} (time limits: timeout=)")


def _check_path(parts: SplitResult, name: str) -> None:
    path = parts.path.strip("/")
    if parts.scheme == "unix" and (not path or parts.netloc.rpartition("@")[2]):
        raise ConfigError(f"{name}: unix:// needs the absolute path of a socket, as in unix:///run/redis/redis.sock")
    if parts.scheme.endswith("+sentinel"):
        service, _, database = path.partition("/")
        if not service:
            raise ConfigError(f"{name}: name the service, as in {parts.scheme}://host1:26379,host2:26379/mymaster/0")
    else:
        database = "" if parts.scheme == "unix" else path
    if database and not database.isdigit():
        raise ConfigError(f"{name}: the database in the Redis URL must be a number, as in redis://localhost:6379/0")


def _addresses(parts: SplitResult, name: str) -> list[Address]:
    """Host and port of each address in the URL; the default port where none is given."""
    if parts.scheme == "unix":
        return []
    standard = 26379 if parts.scheme.endswith("+sentinel") else 6379
    found = []
    for address in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = address.rpartition(":") if not address.endswith("]") and ":" in address else (address, "", "")
        if port and not (port.isascii() and port.isdigit()):
            raise ConfigError(f"{name}: the port in the Redis URL is not a number from 1 to 65535")
        found.append((host.strip("[]"), int(port) if port else standard))
    return found


def _of_pool(pool: Any, limits: dict[str, Any]) -> Target:
    # The pool only knows the address: it would count every connection ever made against its limit.
    return Target(pool.connection_class, {**pool.connection_kwargs, **limits}, owner=pool)


def _of_sentinel(parts: SplitResult, limits: dict[str, Any]) -> Target:
    service, _, database = parts.path.strip("/").partition("/")
    one = _one_server(parts, "localhost", 6379, f"/{database}")
    arguments = dict(redis.ConnectionPool.from_url(one).connection_kwargs)
    sentinels = {
        it: arguments.pop(f"sentinel_{it}") for it in ("username", "password") if f"sentinel_{it}" in arguments
    }
    for place in ("host", "port"):
        arguments.pop(place, None)
    tls = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    found = Sentinel(_addresses(parts, "redis"), sentinel_kwargs={**limits, **sentinels, **tls})  # type: ignore[no-untyped-call]  # redis-py
    pool = found.master_for(service, **arguments, **limits, **tls).connection_pool  # type: ignore[no-untyped-call]  # redis-py
    return _of_pool(pool, limits)


def _one_server(parts: SplitResult, host: str, port: int, path: str) -> str:
    """The URL of one server with the user, the password and the options of `parts`."""
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    place = f"[{unquote(host)}]" if ":" in host else host
    return urlunsplit(parts._replace(scheme=scheme, netloc=f"{user}{at}{place}:{port}", path=path))
