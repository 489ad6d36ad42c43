"""The connections to one Redis server: a bounded LIFO pool, each connection held to one run of the server.

Here driver errors become `StoreError`, once. Nothing that was sent is sent again: the next tier is the retry.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Condition, Lock
from typing import Any

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable
from tiered.lent import Lent, Place
from tiered.tiers.combine import Impatient
from tiered.tiers.redis_awaited import Awaited
from tiered.tiers.redis_errors import Late, Restarted, reason_of, store_error
from tiered.tiers.redis_script import BATCH, DISCARD, LATE, PUT, Put, Script, put_arguments
from tiered.tiers.redis_together import SMALL, Together
from tiered.tiers.redis_url import Target
from tiered.tiers.redis_wire import Arg, Wire, pack

CROWD = 4
"""So many connections in use make those who come next go together: fewer threads to wake, fewer commands to wait for.
Below it they only wait for each other (benchmarks/asyncio_ratios.py)."""
BELIEF = 0.5
"""Seconds for which a connection is used on what its server has said of itself: a master that becomes a replica leaves
its connections open, and answers from whatever its new master had. About 0.1 ms of every half second of use."""
_CLOSING = "Protocol error"
_HANDSHAKE = [pack(("INFO", "server")), pack(("INFO", "replication")), pack(("TIME",))]


class Link:
    """A bounded LIFO pool of connections to one server. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._target, self._timeout, self._limit = name, target, timeout, max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self._idle: deque[Wire] = deque()
        self._opened, self._waiting = Lent[Place](), 0
        # Guards the two. Entered by itself: a signal may raise in a condition's __enter__.
        self._places = Lock()
        self._returned = Condition(self._places)  # notified when a connection or a place comes back
        self._closed = False
        self._together = Together(self.name, self._lend, self._give_back, self._failure)
        self.awaited = Awaited(self.name, self._timeout, self._prepare, self._is_believed, self._discard)
        """For the tasks of event loops."""
        self._ahead = 0.0
        self.reached = ""
        """The run that was greeted last, believed or not."""
        self.run_id: str | None = None
        """The run that connections must belong to (PROTOCOL R15); None accepts any.

        The server's run id and the id of the history that it is the master of: a master that was replaced and comes
        back may be the same process with older data.
        """

    def call(self, *args: Arg, write: bool = False, limits: int = 1) -> Any:
        """One command, one reply. Raises `StoreUnavailable`, or for a write `NotApplied` or `Ambiguous`.

        `limits`: of time, how many it may take.
        """
        packed = pack(args)
        if len(self._opened) - len(self._idle) >= CROWD and len(packed) <= SMALL:
            try:
                return self._together.ask(packed, write)
            except Impatient:
                pass  # nothing was sent: it goes alone, as all do below the crowd
        wire = self._lend(write)
        try:
            reply = wire.ask(packed) if limits == 1 else wire.ask_patiently(packed, limits)
        except BaseException as error:
            raise self._failure(wire, error, write) from error
        self._give_back(wire)
        return reply

    def fetch(self, names: Sequence[str]) -> list[bytes | None]:
        """The values under `names`, in one round trip."""
        found: list[bytes | None] = self.call("MGET", *names)
        return found

    def put(self, items: Sequence[Put], channel: str, since: float | None = None) -> list[bool]:
        """Put-if-newer of each item in one script, told to `channel` ("" tells nobody); refused when it comes late.

        `since` (monotonic seconds): when the frames were committed or read (PROTOCOL R6); now, if not given.
        """
        names = [item.name for item in items]
        results = self.script(PUT, names, put_arguments(items, self.not_after(since), channel), write=True)
        if results == LATE:
            self.forget_idle()
            raise store_error(Late(), self.name, write=True, sent=True)
        return [result == 1 for result in results]

    def discard(self, items: Sequence[Put]) -> int:
        """Remove the keys that still hold exactly these frames; how many."""
        names, frames = [item.name for item in items], [item.frame for item in items]
        return int(self.script(DISCARD, names, frames, write=True))

    def scan(self, cursor: str | None, pattern: str, limit: int) -> tuple[str | None, list[bytes]]:
        """A step through the names that match `pattern`, after `cursor` (None starts), and the cursor of the next."""
        following, names = self.call("SCAN", cursor or "0", "MATCH", pattern, "COUNT", str(limit))
        return (None if following == b"0" else following.decode()), names

    def names(self, pattern: str) -> Iterator[list[bytes]]:
        """All names that match `pattern`, a step at a time."""
        cursor: str | None = None
        while True:
            cursor, names = self.scan(cursor, pattern, BATCH)
            if names:
                yield names
            if cursor is None:
                return

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, write: bool, limits: int = 1) -> Any:
        """Run a script by its SHA; a server that does not know it gets it, and has run nothing before that."""
        rest = (str(len(keys)), *keys, *args)
        try:
            return self.call("EVALSHA", script.sha, *rest, write=write, limits=limits)
        except StoreError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return self.call("EVAL", script.text, *rest, write=write, limits=limits)

    def ask_many(self, commands: Sequence[bytes], *, write: bool) -> list[Any]:
        """Packed commands in one round trip; a server's error is returned in its command's place."""
        wire = self._lend(write)
        try:
            replies = wire.ask_many(list(commands))
        except BaseException as error:
            raise self._failure(wire, error, write) from error
        self._lose(wire) if any(map(_is_last, replies)) else self._give_back(wire)
        return replies

    def at(self, name: str) -> Link:
        """The link to the server that has the key `name`."""
        return self

    def not_after(self, since: float | None = None) -> int:
        """The server's time (Unix ms) after which what was read or committed `since` may no longer be applied there.

        0 if the server's clock is not known.
        """
        if not self._ahead:
            return 0
        return int(((time.monotonic() if since is None else since) + self._ahead + self._target.life) * 1000)

    def meet(self) -> str:
        """The run of the server that answers now, on a connection of its own; the run to hold on to from here."""
        self.run_id, _ = self.visit()
        return self.run_id

    def visit(self, *commands: bytes, greet: bool = True) -> tuple[str, list[Any]]:
        """The run of the server that answers now, believed or not, and its replies, on a connection of its own.

        Without `greet` a replica will do, too, and the run is "".
        """
        wire = None
        try:
            wire = self._open()
            return self._greet(wire) if greet else "", wire.ask_many(list(commands))
        except (redis.RedisError, OSError) as error:
            raise store_error(error, self.name, write=False, sent=False) from error
        finally:
            if wire is not None:
                wire.close()

    def servers(self) -> dict[str, Link]:
        """The link to each server, by a name for people: here one."""
        return {self.name: self}

    def forget_idle(self) -> None:
        """Close idle connections: new ones learn the server's run and clock anew."""
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            self._lose(wire)

    def listen(self) -> list[Wire]:
        """Connections of one's own on which all is heard that puts tell: here one. Close them after use."""
        self._check_open(StoreUnavailable)
        try:
            return [self._connect()]
        except (redis.RedisError, OSError, Restarted) as error:
            raise store_error(error, self.name, write=False, sent=False) from error

    def hears_all(self, wires: Sequence[Wire]) -> bool:
        """Whether `listen` would still lead where `wires` do: to the run that is believed in."""
        return all(wire.run is self.run_id or self.run_id is None for wire in wires)

    def close(self) -> None:
        """Close idle connections now and the others when they come back. Idempotent."""
        self._closed = True
        self.awaited.close()
        self.forget_idle()

    def abandon(self) -> list[Any]:
        """After a fork: the parent's connections, for the child to keep and never touch."""
        inherited = [*self._idle, *self.awaited.wires()]
        self.reset()
        return inherited

    # Private

    def _lend(self, write: bool) -> Wire:
        """A connection that may be believed."""
        try:
            wire = self._idle.pop()
        except IndexError:
            wire = self._take(write)
        return wire if self._is_believed(wire, time.monotonic()) else self._believed(wire, write)

    def _is_believed(self, wire: Wire, now: float) -> bool:
        return now <= wire.believed_until and (wire.run is self.run_id or self.run_id is None)

    def _prepare(self, wire: Wire | None) -> Wire:
        """A connection beside the pool that may be believed: a new one, or `wire`, greeted again."""
        return self._connect() if wire is None else self._met(wire)

    def _discard(self, wire: Wire, error: BaseException | None) -> None:
        """End a connection that is beside the pool."""
        wire.close()
        if not isinstance(error, TimeoutError | None):
            self.forget_idle()  # as in `_failure`

    def _believed(self, wire: Wire, write: bool) -> Wire:
        """A connection in place of one that leads to another run, or that has not said for a while where it leads."""
        while True:
            if time.monotonic() > wire.believed_until and not self._greeted_again(wire, write):
                wire = self._take(write)
                continue  # it may be one that has to say again where it leads
            if wire.run is self.run_id or self.run_id is None:
                return wire
            self._lose(wire)
            wire = self._take(write)

    def _greeted_again(self, wire: Wire, write: bool) -> bool:
        """See that `wire` still leads to a master; nothing of the call was sent when it does not.

        False if it is dead: its server may have been started again since it was used.
        """
        try:
            self._meet_on(wire)
            return True
        except (redis.ConnectionError, ConnectionError):
            self._lose(wire)
            self.forget_idle()
            return False
        except BaseException as error:
            replaced = isinstance(error, ReadOnlyError) and self.run_id is not None
            raise self._failure(wire, Restarted() if replaced else error, write, sent=False) from error

    def _give_back(self, wire: Wire) -> None:
        self._idle.append(wire)
        if self._closed:
            self.forget_idle()
        if self._waiting:
            with self._places:
                self._returned.notify()

    def _failure(self, wire: Wire, error: BaseException, write: bool, *, sent: bool = True) -> BaseException:
        """What to raise for `error` on `wire`. A server's answer leaves the connection whole, but for its last; all else ends it."""
        if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
            self._lose(wire) if _is_last(error) else self._give_back(wire)
        else:
            self._lose(wire)
            if not isinstance(error, TimeoutError):
                self.forget_idle()  # the others are as dead, or lead to a server that is no longer the master
        if isinstance(error, (redis.RedisError, OSError, Restarted)):
            return store_error(error, self.name, write=write, sent=sent)
        return error

    def _take(self, write: bool) -> Wire:
        """An idle connection, a new one, or the first that comes back in time."""
        failed = NotApplied if write else StoreUnavailable
        end = time.monotonic() + self._timeout
        with self._places:
            self._check_open(failed)
            self._waiting += 1  # before the look, so that whoever gives back later sees that somebody waits
            try:
                while True:
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass  # none is idle: there may be a place for a new one
                    if len(self._opened) < self._limit:
                        self._opened.add(place := Place())
                        break
                    if not self._returned.wait(end - time.monotonic()):
                        message = f"all {self._limit} connections of this process are in use; raise max_connections"
                        raise failed(message, tier=self.name, reason=Reason.BUSY)
            finally:
                self._waiting -= 1
        try:
            wire = self._connect()
            wire.place = place
            return wire
        except BaseException as error:
            self._free(place)
            if not isinstance(error, (redis.RedisError, OSError, Restarted)):
                raise
            raise store_error(error, self.name, write=write, sent=False) from error

    def _connect(self) -> Wire:
        return self._met(self._open())

    def _met(self, wire: Wire) -> Wire:
        """Greeted, and the run that is believed in; otherwise closed."""
        try:
            self._meet_on(wire)
            if wire.run is not self.run_id is not None:
                raise Restarted
        except BaseException:
            wire.close()
            raise
        return wire

    def _open(self) -> Wire:
        self._check_open(StoreUnavailable)
        connection: Any = self._target.make(**self._target.arguments)
        try:
            connection.connect()
            return Wire(connection, self._timeout, self._target.max_reply)
        except BaseException:
            connection.disconnect()
            raise

    def _meet_on(self, wire: Wire) -> None:
        since = time.monotonic()
        wire.run = self.reached = self._greet(wire)
        wire.believed_until = since + BELIEF

    def _greet(self, wire: Wire) -> str:
        """Learn the server's run and its clock; a replica is no server to believe."""
        server, replication, clock = wire.ask_many(_HANDSHAKE)
        facts = _facts(server) | _facts(replication)
        if not isinstance(clock, Exception):  # a user without TIME: writes then carry no time limit
            self._ahead = int(clock[0]) + int(clock[1]) / 1e6 - time.monotonic()
        if "run_id" not in facts:
            raise ResponseError("INFO has no run_id; is this a Redis server?")
        if facts.get("role", "master") != "master":
            raise ReadOnlyError("the server is a replica; connect to its master, or through Sentinel or Cluster")
        return sys.intern(f"{facts['run_id']}/{facts.get('master_replid', '')}")  # compared by `is` before each command

    def _lose(self, wire: Wire) -> None:
        wire.close()
        if wire.place is not None:
            self._free(wire.place)

    def _free(self, place: Place) -> None:
        with self._places:
            self._opened.discard(place)
            self._returned.notify()

    def _check_open(self, failed: type[StoreError]) -> None:
        if self._closed:
            raise failed("closed; build a new one", tier=self.name)


def _is_last(reply: object) -> bool:
    """Whether the connection is to end with it. A server that has no room keeps the buffer of a large command with its
    connection: as much again; and it closes that on which it was told more than it reads (`proto-max-bulk-len`)."""
    return isinstance(reply, ResponseError) and (reason_of(reply) is Reason.FULL or str(reply).startswith(_CLOSING))


def _facts(info: Any) -> dict[str, str]:
    """The fields of an INFO reply."""
    if isinstance(info, Exception):
        raise info
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
