"""Where a RedisTier connects to: URLs checked before anything is opened, as connections that redis-py makes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from tiered.arguments import absolute
from tiered.errors import ConfigError
from tiered.tiers.redis_names import bounded
from tiered.tiers.redis_tls import TLS_FILES, TLS_OPTIONS, check_tls
from tiered.tiers.redis_wire import MAX_REPLY
from tiered.urls import pieces

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
OPTIONS = ("db", "username", "password", "client_name", "socket_keepalive")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
QUERY_OPTIONS = ("db", "client_name", "socket_keepalive", *TLS_OPTIONS, *SENTINEL_OPTIONS)
"""What the URL of a chain may have: a user and a password belong before the address."""
Address = tuple[str, int]
"""Host and port."""


class Target(NamedTuple):
    """`make(**arguments)` is a new, unconnected redis-py connection."""

    make: Callable[..., Any]
    arguments: dict[str, Any]
    owner: object = None
    """What must live as long as the connections."""
    seeds: tuple[Address, ...] = ()
    """Where a Redis Cluster is asked for its nodes; empty for one server."""
    max_reply: int = MAX_REPLY
    """Bytes of the longest reply."""
    life: float = 1.0
    """Seconds that a put may take from the commit or the read of its frames to the server."""

    def at(self, address: Address) -> Target:
        """One node of the cluster."""
        return self._replace(arguments={**self.arguments, "host": address[0], "port": address[1]}, seeds=())


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
    parts = pieces(url)
    try:
        if parts.scheme.endswith("+sentinel"):
            return _of_sentinel(parts, limits)
        if parts.scheme.endswith("+cluster"):
            seeds = _addresses(parts, name)
            return _of_url(_one_server(parts, *seeds[0], path=""), limits)._replace(seeds=tuple(seeds))
        return _of_url(url, limits)
    except ValueError as error:  # redis-py names the option, not its value
        raise ConfigError(f"{name}: {error}") from None


def check_url(url: str, name: str, insecure_tls: bool) -> None:
    """Refuse a URL that cannot work; no message holds its password."""
    if not isinstance(url, str):
        raise ConfigError(f"{name}: a URL is a str such as redis://localhost:6379/0, not {type(url).__name__}")
    parts = pieces(url)
    if parts.scheme not in SCHEMES:
        close = difflib.get_close_matches(parts.scheme, SCHEMES, 1)
        meant = f"did you mean {close[0]}://?" if close else f"use {', '.join(f'{it}://' for it in SCHEMES)}"
        raise ConfigError(f"{name}: unknown scheme {parts.scheme!r}; {meant}")
    options = {option: values[0] for option, values in parse_qs(parts.query, keep_blank_values=True).items()}
    _check_options(name, parts.scheme, list(options))
    for host, port in _addresses(parts, name):
        if not host and parts.scheme.endswith(("+sentinel", "+cluster")):
            raise ConfigError(f"{name}: every address of {parts.scheme}:// needs a host, as in host1:7000,host2:7000")
        if not 0 < port < 65_536:
            raise ConfigError(f"{name}: the port in the Redis URL must be from 1 to 65535")
    _check_path(parts, name)
    check_tls(options, name, insecure_tls)


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
    given = parse_qs(parts.query).get("db", [""])[0]
    if any(it and not (it.isascii() and it.isdigit()) for it in (database, given)):
        raise ConfigError(f"{name}: the database in the Redis URL must be a number, as in redis://localhost:6379/0")
    if parts.scheme.endswith("+cluster") and int(given or database or 0):
        raise ConfigError(f"{name}: a Redis Cluster has only the database 0; keep applications apart with prefix=")


def _addresses(parts: SplitResult, name: str) -> list[Address]:
    """Host and port of each address in the URL; the default port where none is given."""
    if parts.scheme == "unix":
        return []
    standard = 26379 if parts.scheme.endswith("+sentinel") else 6379
    found = []
    for address in parts.netloc.rpartition("@")[2].replace("%2C", ",").replace("%2c", ",").split(","):
        host, _, port = address.rpartition(":") if not address.endswith("]") and ":" in address else (address, "", "")
        if port and not (port.isascii() and port.isdigit()):
            raise ConfigError(f"{name}: the port in the Redis URL is not a number from 1 to 65535")
        found.append((host.strip("[]"), int(port) if port else standard))
    return found


def _of_pool(pool: Any, limits: dict[str, Any]) -> Target:
    # The pool only knows the address: it would count every connection ever made against its limit.
    return Target(bounded(pool.connection_class), {**pool.connection_kwargs, **limits}, owner=pool)


def _of_url(url: str, limits: dict[str, Any]) -> Target:
    arguments: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py
    files = {it: str(absolute(arguments[it], it)) for it in TLS_FILES if it in arguments}  # read for each connection
    return Target(bounded(arguments.pop("connection_class", redis.Connection)), {**arguments, **files, **limits})


def _of_sentinel(parts: SplitResult, limits: dict[str, Any]) -> Target:
    service, _, database = parts.path.strip("/").partition("/")
    arguments = _of_url(_one_server(parts, "master", 1, f"/{database}"), limits).arguments
    del arguments["host"], arguments["port"]  # the sentinels know
    user = {it: arguments.pop(f"sentinel_{it}") for it in ("username", "password") if f"sentinel_{it}" in arguments}
    tls = {option: value for option, value in arguments.items() if option.startswith("ssl_")}
    if parts.scheme.startswith("rediss"):
        tls["ssl"] = True  # sentinels speak TLS when their servers do, and show certificates of the same authority
    asking = {**user, **limits, **tls}
    del asking["retry_on_timeout"]  # deprecated in a client, which these are
    found = Sentinel(_addresses(parts, "redis"), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # redis-py
    for sentinel in found.sentinels:
        sentinel.connection_pool.connection_class = bounded(sentinel.connection_pool.connection_class)
    pool = found.master_for(unquote(service), **(arguments | tls)).connection_pool  # type: ignore[no-untyped-call]  # redis-py
    return _of_pool(pool, limits)


def _one_server(parts: SplitResult, host: str, port: int, path: str) -> str:
    """The URL of one server with the user, the password and the options of `parts`."""
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    place = f"[{unquote(host)}]" if ":" in host else host
    return urlunsplit(parts._replace(scheme=scheme, netloc=f"{user}{at}{place}:{port}", path=path))
