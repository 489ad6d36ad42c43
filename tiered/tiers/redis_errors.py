"""What redis-py raises, in the terms of `tiered`: one translation, in one place."""

from __future__ import annotations

import errno
import re

import redis
from redis import exceptions
from redis.sentinel import MasterNotFoundError

from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.tiers.redis_wire import TooLong

_REPLIES = (exceptions.ResponseError, exceptions.AuthenticationError, exceptions.BusyLoadingError)
"""Errors that the server sent, whatever redis-py derives them from: the command was not run."""
_ECHO = re.compile(r",? with args beginning with:.*| : <redis\.client\.Redis.*", re.DOTALL)
"""Redis shows the beginning of a command that it does not know: a password, a key, a value. redis-py shows clients."""
_SCRIPT = re.compile(r" script: [0-9a-f]{40}, on @user_script:\d+\.?$")
_SENTINEL = re.compile(r"host=([^,]*),port=(\d+),.*? - (?:network:)?(\w+)")
_ONE_SERVER = "; for one server write redis://"
_DESCRIPTORS = "; this process may open no more files (ulimit -n)"
_ENDED = "; it was stopped just now, or it wants TLS: rediss://"
_ADVICE_FOR: tuple[tuple[type[Exception], str, str], ...] = (
    (
        MasterNotFoundError,
        "",
        "; check the name of the service, that the sentinels run, their addresses, and their password (sentinel_password=)",
    ),
    (exceptions.TimeoutError, "resolving", "; the resolver of this host hangs (connect_timeout= is the limit)"),
    (exceptions.ConnectionError, f"Error {errno.EMFILE} ", _DESCRIPTORS),
    (
        exceptions.ConnectionError,
        f"Error {errno.ENFILE} ",
        "; this machine may open no more files (sysctl fs.file-max)",
    ),
    (ConnectionResetError, "", _ENDED),
    (exceptions.ConnectionError, "the server closed the connection", _ENDED),
    (exceptions.ConnectionError, "Connection closed by server", _ENDED),
    (exceptions.ConnectionError, "Error while reading", _ENDED),
    (exceptions.ReadOnlyError, "", "; give the address of the master"),
    (exceptions.InvalidResponse, "", "; is this a Redis server? check the host and the port"),
    (exceptions.ResponseError, "DB index", "; choose a database that the server has"),
    (exceptions.ResponseError, "unknown command 'SENTINEL'", _ONE_SERVER),
    (exceptions.ResponseError, "unknown command `SENTINEL`", _ONE_SERVER),  # before Redis 7
    (exceptions.ResponseError, "This instance has cluster support disabled", _ONE_SERVER),
    (exceptions.MovedError, "", "; this is a node of a Redis Cluster: write redis+cluster://"),
)
"""Error, how its text begins, what to do: before what its `Reason` would say."""
_ADVICE = {
    Reason.TIMEOUT: "; the server hangs, is overloaded or out of reach (timeout= is the limit)",
    Reason.CONNECTION: "; check that the server runs, and the host and the port",
    Reason.AUTH: "; check the password: redis://:PASSWORD@host or redis://USER:PASSWORD@host",
    Reason.FULL: "; raise maxmemory or set an eviction policy such as volatile-lru",
    Reason.MISUSE: "; another program uses these keys, or the user's ACL lacks a command",
}
_IN_A_SCRIPT = ("The user executing the script can't", "ACL failure in script")
"""Refusals (Redis 7.0, 7.2) that come in the middle: what the script did before stays done."""
_A_CLIENTS = "it wants a certificate of this client: ssl_certfile=, ssl_keyfile="
_NO_TLS = "; it does not answer TLS: is it a plain redis:// server, or does it hang?"
_TLS_ADVICE = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "; check ssl_ca_certs=, the host in the URL (and those that sentinels and nodes announce) and the dates",
    ),
    ("CERTIFICATE_REQUIRED", f"; {_A_CLIENTS}"),
    ("ALERT_HANDSHAKE_FAILURE", f"; {_A_CLIENTS}; or it has none of the ciphers (ssl_ciphers=)"),
    ("ALERT_PROTOCOL_VERSION", "; it speaks no version of TLS that ssl_min_version= permits"),
    ("EOF occurred in violation of protocol", f"; it was stopped just now, or {_A_CLIENTS}"),
    ("WRONG_VERSION_NUMBER", _NO_TLS),
)
"""What is in the text of an error of TLS, what to do."""


class Restarted(Exception):
    """A new connection reached another run of the server."""


class Late(Exception):
    """A write reached the server after its time and was refused (PROTOCOL R6)."""


def store_error(error: BaseException, tier: str, *, write: bool, sent: bool) -> StoreError:
    """`error` as `StoreUnavailable`, or for a write `NotApplied` or, if it may have been run, `Ambiguous`."""
    text = str(error)
    clean = _without_clients(text) if isinstance(error, MasterNotFoundError) else _ECHO.sub("", text)
    if clean != text:
        error.args = (clean,)  # it becomes the cause of ours, and tracebacks show causes
    kind: type[StoreError] = StoreUnavailable
    if write:
        answered = not sent or (isinstance(error, (*_REPLIES, Late)) and not _in_a_script(str(error)))
        kind = NotApplied if answered else Ambiguous
    return kind(_words(error), tier=tier, reason=reason_of(error))


def reason_of(error: BaseException) -> Reason:
    """The kind of a redis-py error."""
    text = str(error)
    if isinstance(error, Restarted):
        return Reason.RESTARTED
    if isinstance(error, TooLong):
        return Reason.TOO_LARGE
    if isinstance(error, (redis.TimeoutError, TimeoutError, Late)):
        return Reason.TIMEOUT
    if isinstance(error, exceptions.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return Reason.AUTH
    if isinstance(error, (exceptions.BusyLoadingError, exceptions.ReadOnlyError)):
        return Reason.OTHER
    if isinstance(error, (redis.ConnectionError, OSError)):
        return Reason.CONNECTION
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM " in text:
        return Reason.FULL
    if _in_a_script(text) or isinstance(error, exceptions.NoPermissionError) or "WRONGTYPE" in text or "NOPERM" in text:
        return Reason.MISUSE
    return Reason.OTHER


def _in_a_script(text: str) -> bool:
    return any(refusal in text for refusal in _IN_A_SCRIPT)


def _words(error: BaseException) -> str:
    if isinstance(error, Restarted):
        return "the server was restarted or replaced; its data is not believed until a probe has looked at it"
    if isinstance(error, TooLong):
        return f"{error}; raise it, or ask for less at once"
    if isinstance(error, Late):
        return "the write reached the server after its time and was refused"
    text = _SCRIPT.sub("", str(error)).rstrip(".")
    advice = _NO_TLS if "handshake operation timed out" in str(error.__context__) else _ADVICE.get(reason_of(error), "")
    for part, better in _TLS_ADVICE:
        if part in text:
            advice = better
            break
    for kind, start, better in _ADVICE_FOR:
        if isinstance(error, kind) and text.startswith(start):
            advice = better
    return f"{type(error).__name__}: {text}{advice}"


def _without_clients(text: str) -> str:
    """redis-py shows the whole client of each sentinel that failed; its address and the error are enough."""
    told, _, clients = text.partition(" : ")
    failed = ", ".join(f"{host}:{port} {error}" for host, port, error in _SENTINEL.findall(clients))
    return f"{told} ({failed})" if failed else told
