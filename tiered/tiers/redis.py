"""The Redis tier: shared and fast; a cache above a durable tier, or the store of record itself.

Every write is one Lua script that compares versions, so a write that arrives late changes nothing. Keys are
`{prefix}:{namespace}:{generation}:{key}` and always expire in the cache role.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from struct import Struct
from typing import Any

import redis

from tiered.arguments import MAX_TTL, number, text_of, tier_name, truth, utf8_size, whole
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.entry import keep_until_of, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.forks import forget, register
from tiered.tiers.base import RETENTION_MS, BuiltIn, Commit, Journal, Later, Page, TierHealth, Write, Written
from tiered.tiers.redis_cluster import Cluster
from tiered.tiers.redis_durability import Durability
from tiered.tiers.redis_hearing import Hearing
from tiered.tiers.redis_leases import RedisLeases
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_removals import Removals, remove_older
from tiered.tiers.redis_script import Put, Script, batches, time_limits
from tiered.tiers.redis_subscription import channel
from tiered.tiers.redis_url import target
from tiered.tiers.redis_wire import MAX_REPLY, Arg, literal, pack

ATTEMPTS = 20
TIME_LIMITS = (0.001, 3600.0)
"""Seconds; the kernel takes a limit of less than a microsecond for none at all."""
NOTE_MS = 30 * 86_400_000
"""How long a note lives, at least."""
CLAIM_MS = 600_000
"""How long a claim on a namespace lasts; whoever uses it renews it well before."""
REMOVAL = 2.0
"""Seconds that closing waits for what was cleared to be removed."""

NO_RECORD = (
    "a Redis Cluster cannot be the store of record: a commit is one transaction over several keys, and a cluster has none "
    "over slots; put a durable tier such as file:./data below it, or use redis+sentinel://"
)

_U64 = Struct(">Q")
_COMMIT, _VERSIONS, _RENEW = Script("commit.lua"), Script("versions.lua"), Script("renew.lua")
_NOTE = Script("note.lua")
_abandoned: list[Any] = []
"""Sockets inherited over a fork: neither used nor closed."""


def life_of_a_put(timeout: float, max_ttl: float) -> float:
    """Seconds, from the commit or the read of its frames to the server: well below what keeps an older one out there (R6)."""
    return min(10 * timeout, RETENTION_MS / 2000, max_ttl / 2)


class RedisTier(BuiltIn):
    """Redis or Valkey at `url`, or where `client` connects to, on connections of its own.

    `url` is redis://, rediss:// (TLS) or unix://, redis+sentinel://, redis+cluster:// or these two with rediss; the default
    is redis://localhost:6379/0. Thread-safe; connects on first use. In a cluster `max_connections` is per master.

    Timeouts and `max_ttl` are seconds; `max_ttl` bounds how long a cache tier's key lives. `prefix` begins every key, and a
    longer reply than `max_reply_bytes` is refused. `insecure_tls` permits a URL that leaves a certificate unchecked. As the store of record its
    durability is that of the server's persistence, and entries without expiry stay.
    """

    max_key_bytes = 1024
    journal: Journal | None = None

    def __init__(
        self,
        url: str | None = None,
        *,
        client: redis.Redis | None = None,
        name: str = "redis",
        prefix: str = "tiered",
        connect_timeout: float = 0.1,
        timeout: float = 0.1,
        max_connections: int = 32,
        max_ttl: float = 86_400.0,
        max_reply_bytes: int = MAX_REPLY,
        insecure_tls: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name = tier_name(name)
        for option, limit in (("connect_timeout", connect_timeout), ("timeout", timeout)):
            number(f"{name}: {option}", limit, *TIME_LIMITS, " seconds")
        truth(f"{name}: insecure_tls", insecure_tls)
        whole(f"{name}: max_connections", max_connections, 1)
        whole(f"{name}: max_reply_bytes", max_reply_bytes, 1024)
        if not utf8_size(prefix):
            raise ConfigError(f"{name}: prefix must be a str that is not empty, in valid Unicode, not {prefix!r:.40}")
        self.patience = max(timeout, connect_timeout)
        """The longest that one step of a call waits, in seconds."""
        self._prefix, self._clock = text_of(prefix), clock
        self._max_px = int(number(f"{name}: max_ttl", max_ttl, 1, MAX_TTL, " seconds") * 1000)
        where = target(
            url, client, name=name, connect_timeout=connect_timeout, timeout=timeout, insecure_tls=insecure_tls
        )
        self._place = f"{int(where.arguments.get('db') or 0)}/{self._prefix}"
        """The database and the prefix: what is put at another does not come here."""
        where = where._replace(max_reply=max_reply_bytes, life=life_of_a_put(timeout, max_ttl))
        kind = Cluster if where.seeds else Link
        self.no_record = NO_RECORD if where.seeds else ""
        self._link: Link | Cluster = kind(where, name=name, timeout=timeout, max_connections=max_connections)
        self.leases, self._durability = RedisLeases(self._link, self._prefix), Durability(name)
        self._spaces: dict[str, int] = {}
        self._removals = Removals(self._remove, name)
        register(self)

    # As a cache tier

    def get(self, scope: str, key: str) -> bytes | None:
        frame: bytes | None = self._link.call("GET", f"{self._prefix}:{scope}:{key}")
        return frame

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._link.fetch([f"{self._prefix}:{scope}:{key}" for key in keys]) if keys else []

    def asked(self, scope: str, key: str, later: Later) -> Future[bytes | None] | None:
        link = self._link
        conversation = link.awaited.conversation(later) if isinstance(link, Link) else None
        return None if conversation is None else conversation.ask(pack(("GET", f"{self._prefix}:{scope}:{key}")))

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        now, accepted = self._clock.now(), list[bool]()
        to = channel(self._prefix, scope.rpartition(":")[0]) if tell else ""
        puts = [Put(f"{self._prefix}:{scope}:{key}", frame, self._px(frame, now)) for key, frame in items]
        for batch in batches(puts):
            try:
                accepted += self._link.put(batch, to, since)
            except NotApplied as error:
                if not any(accepted):
                    raise
                # `NotApplied` would deny the batches before this one.
                told = without_tier(error, self.name)
                raise Ambiguous(f"after a part was stored: {told}", reason=error.reason, tier=self.name) from error
        return accepted

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        return self._page(f"{self._prefix}:{scope}:", "", cursor, limit)

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        held = [Put(f"{self._prefix}:{scope}:{key}", frame, 0) for key, frame in items]
        return sum(self._link.discard(batch) for batch in batches(held))

    def forget(self, scope: str) -> None:
        """Nothing to do: every key expires."""

    def probe(self) -> str:
        """The server's run id, and where this tier's keys are there: another one means that its data may be another."""
        return f"{self._link.meet()}/{self._place}"

    def ask_servers(self, *commands: Sequence[Arg]) -> dict[str, list[Any]]:
        """What each server answers, in a cluster each master, by a name for people; on connections of their own.

        For operators: a server's error is returned in its command's place. Raises `StoreError` if one cannot be reached.
        """
        packed = [pack(command) for command in commands]
        return {where: link.visit(*packed, greet=False)[1] for where, link in self._link.servers().items()}

    def subscribe(self) -> Hearing:
        return Hearing(self._link, self._prefix, self.name)

    def claim(self, namespace: str, identity: str) -> str:
        key = self.claim_key(namespace)
        self._link.call("SET", key, identity, "NX", "PX", str(CLAIM_MS), write=True)
        owner = self.owner(namespace)
        if owner is not None and owner != identity:
            return owner
        self._link.call("PEXPIRE", key, str(CLAIM_MS), write=True)
        return identity

    def owner(self, namespace: str) -> str | None:
        """Whose `namespace` is; changes nothing."""
        owner: bytes | None = self._link.call("GET", self.claim_key(namespace))
        return None if owner is None else owner.decode(errors="replace")

    def claim_key(self, namespace: str) -> str:
        return f"{self._prefix}:{namespace}:store"

    def note(self, line: str, place: str) -> str | None:
        life = max(self._max_px + RETENTION_MS, NOTE_MS)  # others may put for longer than this one
        return _place(self._link.script(_NOTE, [self._note(line)], [place, str(life)], write=True))

    def noted(self, line: str) -> str | None:
        return _place(self._link.call("GET", self._note(line)))

    def health(self) -> TierHealth:
        try:
            self._link.call("PING")
            durable = self._durability.appendonly
            role = {} if durable is None else {"appendonly": durable}
            return TierHealth(True, "", {"run_id": self._link.run_id, **role})
        except StoreError as error:
            return TierHealth(False, str(error))

    def close(self) -> None:
        try:
            self._removals.finish(REMOVAL)
        finally:
            self._link.close()
            forget(self)

    # As the store of record

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        generation, frames = self.read_many(namespace, (key,))
        return generation, frames[0]

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        for _ in range(ATTEMPTS):
            space = self._spaces.get(namespace, 1)
            names = [self._name(namespace, space, key) for key in keys]
            epoch, found, *frames = self._server.call(
                "MGET", f"{self._prefix}:epoch", self._generation(namespace), *names
            )
            self._spaces[namespace] = now = self._number(found, 1)
            if now == space:
                return max(now, self._number(epoch, 0)), frames
        raise StoreUnavailable("the namespace is being cleared all the time", tier=self.name, reason=Reason.BUSY)

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        for _ in range(ATTEMPTS):
            last = self._reserve(namespace, len(writes))
            frames = [w.draft.seal(last - len(writes) + 1 + n) for n, w in enumerate(writes)]
            space = self._spaces.get(namespace, 1)
            args: list[Arg] = [str(space), str(now)]
            for write, frame in zip(writes, frames, strict=True):
                expect = b"" if write.expect is None else _U64.pack(write.expect)
                args += frame, str(self._record_px(write, now)), expect
            keys = [
                self._generation(namespace),
                f"{self._prefix}:epoch",
                *(self._name(namespace, space, write.key) for write in writes),
            ]
            results = self._server.script(_COMMIT, keys, args, write=True, limits=time_limits(frames))
            if isinstance(results, int):
                self._spaces[namespace] = results
                continue
            epoch, applied = results
            if 3 not in applied:
                # From the script, not asked afterwards: a clear in between would lend its generation to older frames.
                return Commit(max(space, self._number(epoch, 0)), list(map(_written, writes, frames, applied)))
        raise NotApplied("other writers were faster every time", tier=self.name, reason=Reason.BUSY)

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        """In no order; a key may come twice while the server's table is being resized, as with any SCAN."""
        self.generation(namespace)  # which keys are its own now
        return self._page(self._name(namespace, self._spaces.get(namespace, 1), ""), prefix, cursor, limit)

    def namespaces(self) -> list[str]:
        """By looking through the whole database, a step at a time."""
        start, end = f"{self._prefix}:", ":versions"
        names = (_text(name) for page in self._server.names(literal(start) + "*" + end) for name in page)
        found = (name[len(start) : -len(end)] for name in names if name is not None)
        return sorted({name for name in found if ":" not in name})  # with one, it is an entry's key

    def count(self, namespace: str) -> int | None:
        """Unknown: Redis counts keys per database only."""
        return None

    def generation(self, namespace: str) -> int:
        return self.generation_many((namespace,))[0]

    def generation_many(self, namespaces: Sequence[str]) -> list[int]:
        """`generation` of each, by one command."""
        epoch, *found = self._server.call("MGET", f"{self._prefix}:epoch", *map(self._generation, namespaces))
        spaces = [self._number(it, 1) for it in found]
        self._spaces.update(zip(namespaces, spaces, strict=True))
        bumped = self._number(epoch, 0)
        return [max(space, bumped) for space in spaces]

    def clear(self, namespace: str) -> int:
        generation = self._renew(self._generation(namespace), 1)
        self._removals.add(namespace)
        return generation

    def bump(self) -> None:
        self._renew(f"{self._prefix}:epoch", 0)

    def lineage(self) -> str:
        """Of the data that the server has now: another one means that they may be older than what was read before."""
        self._server.call("PING")  # on a connection that was greeted since the server started, or is now
        return self._server.pool.reached

    def after_fork_in_child(self) -> None:
        _abandoned.extend(self._link.abandon())
        self._removals = Removals(self._remove, self.name)

    # Private

    @property
    def _server(self) -> Link:
        """Where the record is: one server, because a commit is one script over several keys."""
        if isinstance(self._link, Link):
            return self._link
        raise ConfigError(f"{self.name}: {self.no_record}")

    def _note(self, line: str) -> str:
        return f"{self._prefix}:{line}:place"

    def _px(self, frame: bytes, now: int) -> int:
        """A frame past its retention still replaces what is older, and is gone at once."""
        keep_until = keep_until_of(frame)
        return max(1, min(self._max_px, keep_until - now + RETENTION_MS)) if keep_until else self._max_px

    def _reserve(self, namespace: str, count: int) -> int:
        """The last of `count` versions that nobody else gets; losing some changes no entry."""
        if self._durability.appendonly is None:
            self._durability.look(self._server)
        try:
            return int(
                self._server.script(_VERSIONS, [f"{self._prefix}:{namespace}:versions"], [str(count)], write=True)
            )
        except Ambiguous as error:
            told = without_tier(error, self.name)
            raise NotApplied(f"no versions reserved: {told}", reason=error.reason, tier=self.name) from error

    def _renew(self, key: str, default: int) -> int:
        """The generation of a namespace is the newer of the last clear and the last bump."""
        return int(self._server.script(_RENEW, [key, f"{self._prefix}:newest"], [str(default)], write=True))

    def _number(self, found: bytes | None, default: int) -> int:
        try:
            return default if found is None else int(found)
        except ValueError as error:
            message = f"a generation under {self._prefix!r} is no number; another program uses these keys: set prefix="
            raise StoreUnavailable(message, tier=self.name, reason=Reason.MISUSE) from error

    def _record_px(self, write: Write, now: int) -> int:
        keep_until = write.draft.keep_until
        return max(1, keep_until - now + RETENTION_MS) if keep_until else 0

    def _generation(self, namespace: str) -> str:
        return f"{self._prefix}:{namespace}:generation"

    def _name(self, namespace: str, space: int, key: str) -> str:
        return f"{self._prefix}:{namespace}:{space}:{key}"

    def _page(self, start: str, prefix: str, cursor: str | None, limit: int) -> Page:
        following, names = self._link.scan(cursor, literal(start + prefix) + "*", limit)
        texts = [text for name in names if (text := _text(name)) is not None]
        frames = self._link.fetch(texts) if texts else []
        items = [(text[len(start) :], frame) for text, frame in zip(texts, frames, strict=True) if frame is not None]
        return Page(items, following)

    def _remove(self, namespace: str) -> None:
        """Unlink what clears made invisible; what an outage leaves behind costs memory until the next."""
        try:
            now = self._number(self._server.call("GET", self._generation(namespace)), 1)
            remove_older(self._server, f"{self._prefix}:{namespace}:", now)
        except StoreError:
            return


def _written(write: Write, frame: bytes, result: int) -> Written:
    if result <= 0:
        return Written(0, b"", result < 0)
    told = write.expect is not None or write.draft.tombstone
    return Written(version_of(frame), frame, told and result == 2)


def _place(noted: bytes | None) -> str | None:
    return None if noted is None else noted.decode(errors="replace")


def _text(name: bytes) -> str | None:
    """The name of a Redis key; None for one that is not UTF-8 and so was not written here."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
