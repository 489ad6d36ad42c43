"""What is asked of one Redis server, over a pool of connections; driver errors are `StoreError` by then.

Nothing that was sent is sent again: the next tier is the retry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError

from tiered.errors import StoreError, StoreUnavailable
from tiered.handlers import pass_on
from tiered.tiers.combine import Impatient
from tiered.tiers.redis_awaited import Awaited
from tiered.tiers.redis_errors import Late, Restarted, store_error
from tiered.tiers.redis_pool import Pool, is_last
from tiered.tiers.redis_script import BATCH, DISCARD, LATE, PUT, Put, Script, put_arguments
from tiered.tiers.redis_together import SMALL, Together
from tiered.tiers.redis_url import Target
from tiered.tiers.redis_wire import Arg, Wire, pack

CROWD = 4
"""So many connections in use make those who come next go together: fewer threads to wake, fewer commands to wait for.
Below it they only wait for each other (benchmarks/asyncio_ratios.py)."""


class Link:
    """One server. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._timeout, self._life = name, timeout, target.life
        self.pool = Pool(target, name=name, timeout=timeout, max_connections=max_connections)
        self._begin()

    def call(self, *args: Arg, write: bool = False, limits: int = 1) -> Any:
        """One command, one reply. Raises `StoreUnavailable`, or for a write `NotApplied` or `Ambiguous`.

        `limits`: of time, how many it may take.
        """
        packed = pack(args)
        pool = self.pool
        if len(pool.opened) - len(pool.idle) >= CROWD and len(packed) <= SMALL:
            try:
                return self._together.ask(packed, write)
            except Impatient:
                pass  # nothing was sent: it goes alone, as all do below the crowd
        wire = pool.lend(write)
        try:
            reply = wire.ask(packed) if limits == 1 else wire.ask_patiently(packed, limits)
        except BaseException as error:
            raise pool.failure(wire, error, write) from error
        pool.give_back(wire)
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
            self.pool.forget_idle()
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
        pool = self.pool
        wire = pool.lend(write)
        try:
            replies = wire.ask_many(list(commands))
        except BaseException as error:
            raise pool.failure(wire, error, write) from error
        pool.lose(wire) if any(map(is_last, replies)) else pool.give_back(wire)
        return replies

    def at(self, name: str) -> Link:
        """The link to the server that has the key `name`."""
        return self

    def not_after(self, since: float | None = None) -> int:
        """The server's time (Unix ms) after which what was read or committed `since` may no longer be applied there.

        0 if the server's clock is not known.
        """
        ahead = self.pool.ahead
        return int(((time.monotonic() if since is None else since) + ahead + self._life) * 1000) if ahead else 0

    def meet(self) -> str:
        """The run of the server that answers now, on a connection of its own; the run to hold on to from here."""
        run_id, _ = self.visit()
        self.pool.run_id = run_id
        return run_id

    @property
    def run_id(self) -> str | None:
        """The run that connections must belong to; None before a probe has met the server."""
        return self.pool.run_id

    def visit(self, *commands: bytes, greet: bool = True) -> tuple[str, list[Any]]:
        """The run of the server that answers now, believed or not, and its replies, on a connection of its own.

        Without `greet` a replica will do, too, and the run is "".
        """
        wire = None
        try:
            wire = self.pool.open()
            return self.pool.greet(wire) if greet else "", wire.ask_many(list(commands))
        except (redis.RedisError, OSError) as error:
            pass_on(error)
            raise store_error(error, self.name, write=False, sent=False) from error
        finally:
            if wire is not None:
                wire.close()

    def servers(self) -> dict[str, Link]:
        """The link to each server, by a name for people: here one."""
        return {self.name: self}

    def listen(self) -> list[Wire]:
        """Connections of one's own on which all is heard that puts tell: here one. Close them after use."""
        self.pool.check_open(StoreUnavailable)
        try:
            return [self.pool.connect()]
        except (redis.RedisError, OSError, Restarted) as error:
            raise store_error(error, self.name, write=False, sent=False) from error

    def hears_all(self, wires: Sequence[Wire]) -> bool:
        """Whether `listen` would still lead where `wires` do: to the run that is believed in."""
        run_id = self.pool.run_id
        return all(wire.run is run_id or run_id is None for wire in wires)

    def close(self) -> None:
        """Close idle connections now and the others when they come back. Idempotent."""
        self.pool.close()
        self.awaited.close()

    def abandon(self) -> list[Any]:
        """After a fork: the parent's connections, for the child to keep and never touch."""
        inherited = [*self.pool.idle, *self.awaited.wires()]
        self.pool.reset()
        self._begin()
        return inherited

    # Private

    def _begin(self) -> None:
        """At first, and in a child after a fork."""
        pool = self.pool
        self._together = Together(self.name, pool.lend, pool.give_back, pool.failure)
        self.awaited = Awaited(self.name, self._timeout, pool.prepare, pool.is_believed, pool.discard)
        """For the tasks of event loops."""
