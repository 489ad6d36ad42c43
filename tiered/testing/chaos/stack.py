"""A chain URL taken apart, so that proxies can be put in front of its Redis."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tiered.chain_url import tier_urls
from tiered.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stack:
    """The tiers of a chain, one of which is a Redis reached over plain TCP at `host`:`port`."""

    members: tuple[str, ...]
    place: int
    host: str
    port: int

    @classmethod
    def of(cls, url: str, *, max_ttl: float) -> Stack:
        """Take `url` apart. Redis keys get `max_ttl` (seconds) unless the URL says another; raises `ConfigError`."""
        members = tier_urls(url)
        places = [n for n, member in enumerate(members) if urlsplit(member).scheme == "redis"]
        if len(places) != 1:
            told = "chaos puts proxies in front of one redis:// tier (no TLS, Sentinel, Cluster or socket), and finds"
            raise ConfigError(f"{told} {len(places)} here")
        (place,) = places
        parts = urlsplit(members[place])
        if "max_ttl" not in parse_qs(parts.query):
            query = f"{parts.query}&max_ttl={max_ttl:g}s".removeprefix("&")
            members[place] = urlunsplit(parts._replace(query=query))
        try:
            return cls(tuple(members), place, parts.hostname or "localhost", parts.port or 6379)
        except ValueError as error:
            raise ConfigError("the port of the redis:// tier is not a number from 1 to 65535") from error

    @property
    def url(self) -> str:
        """The whole chain, without a proxy."""
        return ",".join(self.members)

    @property
    def record(self) -> str:
        """The store of record alone."""
        return self.members[-1]

    @property
    def redis_is_record(self) -> bool:
        """Whether the faults hit the store of record itself."""
        return self.place == len(self.members) - 1

    def through(self, port: int) -> str:
        """The chain with its Redis at `port` of loopback."""
        parts = urlsplit(self.members[self.place])
        credentials, at, _ = parts.netloc.rpartition("@")
        changed = urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}"))
        return ",".join(changed if n == self.place else member for n, member in enumerate(self.members))
