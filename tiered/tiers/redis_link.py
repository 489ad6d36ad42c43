"""Commands to Redis on redis-py's own connections, without its command layer, which is half of a call's cost.

Here driver errors become `StoreError`, once. There are no retries: the next tier is the retry.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, StoreUnavailable

Arg = bytes | str | int
_REPLIES = (redis.AuthenticationError, redis.exceptions.BusyLoadingError)
"""redis-py calls these connection errors, but the server sent them: it ran nothing."""
_OPTIONS = ("db", "username", "password", "client_name", "socket_keepalive")
_TLS_OPTIONS = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs"),
    *("ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_validate_ocsp"),
)
_INFO = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"


class Link:
    """A bounded LIFO pool of connections to one server. Thread-safe; connects on first use."""

    def __init__(
        self,
        url: str | None,
        *,
        client: redis.Redis | None,
        name: str,
        connect_timeout: float,
        timeout: float,
        max_connections: int,
        insecure_tls: bool,
    ) -> None:
        self.name, self._timeout = name, timeout
        pool = _pool(url, client, name, insecure_tls)
        # The pool only knows the address: it would count every connection ever made against its limit.
        self._make = pool.connection_class
        self._arguments = {
            **pool.connection_kwargs,
            "socket_connect_timeout": connect_timeout,
            "socket_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "health_check_interval": 0,
            "protocol": 2,
            "driver_info": None,  # two CLIENT SETINFO per connection otherwise
        }
        self._limit = max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self._idle: deque[Any] = deque()
        self._places = threading.BoundedSemaphore(self._limit)
        self._closed = False
        self.run_id: str | None = None
        """The server run that connections must belong to (PROTOCOL R15); None accepts any."""

    def call(self, *args: Arg, write: bool = False) -> Any:
        """One command, one reply. Raises `StoreUnavailable`, or for a write `NotApplied` or `Ambiguous`."""
        packed = b"".join((b"*%d\r\n" % len(args), *map(_bulk, args)))
        sent = False
        failed = NotApplied if write else StoreUnavailable
        if self._closed:
            raise failed("closed; build a new one", tier=self.name)
        if not self._places.acquire(timeout=self._timeout):
            message = f"all {self._limit} connections of this process are in use; raise max_connections"
            raise failed(message, tier=self.name, reason=Reason.BUSY)
        connection = None
        try:
            connection = self._take() if self._idle else self._connect()
            sent = True
            connection.send_packed_command([packed], check_health=False)
            reply = connection.read_response(disable_decoding=True)
        except _Restarted as error:
            message = "the server was restarted or replaced; its data is not believed until a probe has looked at it"
            raise failed(message, tier=self.name, reason=Reason.RESTARTED) from error
        except redis.ResponseError as error:
            if connection is not None:
                self._idle.append(connection)
            raise failed(_words(error), tier=self.name, reason=reason_of(error)) from error
        except BaseException as error:
            if connection is not None:
                connection.disconnect()  # a late reply must never meet the next command
            if not isinstance(error, (redis.RedisError, OSError)):
                raise
            kind: type[StoreError] = Ambiguous if write and sent and not isinstance(error, _REPLIES) else failed
            raise kind(_words(error), tier=self.name, reason=reason_of(error)) from error
        else:
            self._idle.append(connection)
        finally:
            self._places.release()
        return reply

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, write: bool) -> Any:
        """Run a script by its SHA; a server that does not know it gets it, and has run nothing before that."""
        rest = (len(keys), *keys, *args)
        try:
            return self.call("EVALSHA", script.sha, *rest, write=write)
        except StoreError as error:
            if not isinstance(error.__cause__, redis.exceptions.NoScriptError):
                raise
        return self.call("EVAL", script.text, *rest, write=write)

    def close(self) -> None:
        """Close idle connections now and the others when they come back. Idempotent."""
        self._closed = True
        while self._idle:
            self._idle.pop().disconnect()

    def abandon(self) -> list[Any]:
        """After a fork: the parent's connections, for the child to keep and never touch."""
        inherited = list(self._idle)
        self.reset()
        return inherited

    def meet(self) -> str:
        """The run id of the server that answers now, on a connection of its own; the run to hold on to from here."""
        if self._closed:
            raise StoreUnavailable("closed; build a new one", tier=self.name)
        connection: Any = self._make(**self._arguments)
        try:
            connection.connect()
            self.run_id = _run_id(connection)
        except redis.RedisError as error:
            raise StoreUnavailable(_words(error), tier=self.name, reason=reason_of(error)) from error
        finally:
            connection.disconnect()
        return self.run_id

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:  # another thread was faster
            return self._connect()

    def _connect(self) -> Any:
        connection: Any = self._make(**self._arguments)
        try:
            connection.connect()
            if self.run_id is not None and _run_id(connection) != self.run_id:
                raise _Restarted
        except BaseException:
            connection.disconnect()
            raise
        return connection


class _Restarted(Exception):
    """A new connection reached another run of the server."""


def _run_id(connection: Any) -> str:
    connection.send_packed_command([_INFO], check_health=False)
    for line in connection.read_response(disable_decoding=True).decode().splitlines():
        if line.startswith("run_id:"):
            return str(line.removeprefix("run_id:"))
    raise redis.ResponseError("INFO has no run_id; is this a Redis server?")


class Script:
    """A Lua script shipped beside this module."""

    def __init__(self, name: str) -> None:
        self.text = files("tiered.tiers").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def check_url(url: str, name: str, insecure_tls: bool) -> None:
    """Refuse a URL that cannot work; no message holds its password."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        close = difflib.get_close_matches(parts.scheme, ("redis", "rediss", "unix"), 1)
        meant = f"; did you mean {close[0]}://?" if close else "; use redis://, rediss:// or unix://"
        raise ConfigError(f"{name}: unknown scheme {parts.scheme!r}{meant}")
    _check_options(name, parts.scheme, list(parse_qs(parts.query, keep_blank_values=True)))
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{name}: the port in the Redis URL is not a number from 1 to 65535") from error
    if port == 0:
        raise ConfigError(f"{name}: the port in the Redis URL must be from 1 to 65535")
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdigit():
        raise ConfigError(f"{name}: the database in the Redis URL must be a number, as in redis://localhost:6379/0")
    if (
        parse_qs(parts.query).get("ssl_cert_reqs", ["required"])[0].lower() in ("none", "cert_none")
        and not insecure_tls
    ):
        raise ConfigError(
            f"{name}: ssl_cert_reqs=none lets anyone pose as the server; if you mean it, insecure_tls=True"
        )


def _check_options(name: str, scheme: str, given: list[str]) -> None:
    known = _OPTIONS + _TLS_OPTIONS if scheme == "rediss" else _OPTIONS
    for option in given:
        if option in known:
            continue
        if option in _TLS_OPTIONS:
            raise ConfigError(f"{name}: {option} in the Redis URL needs rediss://")
        close = difflib.get_close_matches(option, known, 1)
        meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
        raise ConfigError(f"{name}: unknown option {option!r} in the Redis URL{meant} (time limits: timeout=)")


def _pool(url: str | None, client: redis.Redis | None, name: str, insecure_tls: bool) -> Any:
    if client is not None:
        if url is not None or not isinstance(client, redis.Redis):
            raise ConfigError(f"{name}: give a URL or client=, a redis.Redis (not asyncio, not cluster)")
        return client.connection_pool
    url = url or "redis://localhost:6379/0"
    check_url(url, name, insecure_tls)
    return redis.ConnectionPool.from_url(url)


def reason_of(error: BaseException) -> Reason:
    """The kind of a redis-py error."""
    text = str(error)
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return Reason.TIMEOUT
    if isinstance(error, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return Reason.AUTH
    if isinstance(error, (redis.exceptions.BusyLoadingError, redis.exceptions.ReadOnlyError)):
        return Reason.OTHER
    if isinstance(error, (redis.ConnectionError, OSError)):
        return Reason.CONNECTION
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM " in text:
        return Reason.FULL
    if isinstance(error, redis.exceptions.NoPermissionError) or "WRONGTYPE" in text or "NOPERM" in text:
        return Reason.MISUSE
    return Reason.OTHER


def _words(error: BaseException) -> str:
    advice = {
        Reason.AUTH: "; check the password: redis://:PASSWORD@host or redis://USER:PASSWORD@host",
        Reason.FULL: "; raise maxmemory or set an eviction policy such as volatile-lru",
        Reason.MISUSE: "; another program uses these keys, or the user's ACL lacks a command",
    }.get(reason_of(error), "")
    return f"{type(error).__name__}: {error}{advice}"


def _bulk(arg: Arg) -> bytes:
    data = arg if isinstance(arg, bytes) else str(arg).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
