"""What `tiered stat` and `tiered top` look at: running processes through their endpoints, or a chain opened for it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tiered.cli.activity import CacheActivity, activities
from tiered.cli.condition import TierCondition, conditions
from tiered.cli.endpoints import EXAMPLE, Endpoints
from tiered.cli.opening import hush, open_store
from tiered.cli.series import Change, Series
from tiered.cli.ticks import ticks
from tiered.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from tiered.backend import TieredBackend


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look showed: what caches do, or how the tiers of a chain are."""

    caches: list[CacheActivity] = field(default_factory=list)
    tiers: list[TierCondition] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    """Endpoints that did not answer, and why."""
    at: float = field(default_factory=time.time)

    @property
    def dark(self) -> bool:
        """Whether no tier of a chain answers."""
        return bool(self.tiers) and not any(tier.ok for tier in self.tiers)

    def as_dict(self) -> dict[str, Any]:
        shown = {name: value for name, value in asdict(self).items() if value}
        return {"at": shown.pop("at"), **shown}


class EndpointFeed:
    """Of what happens between two looks; the first gives nothing."""

    primes = 1

    def __init__(self, endpoints: Endpoints, cache: str | None) -> None:
        self._endpoints, self._cache = endpoints, cache
        self._before: Series | None = None
        self.name = ", ".join(endpoints.urls)

    def look(self) -> Sight | None:
        """Raises `StoreUnavailable` if no endpoint answers or the cache is there no more, `ConfigError` if there never was one."""
        now, before = self._endpoints.look(), self._before
        self._before = now
        seen = activities(Change(before or now, now), self._cache)
        if not seen and before is None:
            raise ConfigError(self._nothing(now))
        if not seen:  # it was there: the process ends, or opens its store anew
            raise StoreUnavailable("its store is closed", tier=self.name)
        return None if before is None else Sight(caches=seen, silent=self._endpoints.silent)

    def _nothing(self, now: Series) -> str:
        if names := now.label("tiered_tier_info", "cache"):
            return f"there is no cache {self._cache!r}; there are: {', '.join(names)}"
        return f"{self.name}: no metrics of tiered there; does the process export them, and has it opened a store?"


class ChainFeed:
    """Of the tiers of a chain, without the processes that use it."""

    primes = 0

    def __init__(self, store: TieredBackend) -> None:
        self._store = store
        self.name = repr(store).strip("<>")

    def look(self) -> Sight:
        return Sight(tiers=conditions(self._store))


Feed = EndpointFeed | ChainFeed


@contextmanager
def feed_of(args: argparse.Namespace) -> Iterator[Feed]:
    """What the command line points to."""
    if args.endpoints:
        yield EndpointFeed(Endpoints(args.endpoints, ca=args.ca, cert=args.cert), args.cache)
        return
    if args.cache or args.ca or args.cert:
        raise ConfigError(f"--cache, --ca and --cert are about a metrics endpoint; give its URL, such as {EXAMPLE}")
    hush()
    with open_store(args) as store:
        yield ChainFeed(store)


Looked = tuple[Sight | None, StoreUnavailable | None]


def looks(feed: Feed, every: float, number: int | None) -> Iterator[Looked]:
    """One look after the other. The first must succeed; of a later one that fails, the error comes instead."""
    seen = False
    for _ in ticks(every, None if number is None else number + feed.primes):
        try:
            sight = feed.look()
        except StoreUnavailable as error:
            if not seen:
                raise
            yield None, error
        else:
            seen = True
            if sight is not None:
                yield sight, None
