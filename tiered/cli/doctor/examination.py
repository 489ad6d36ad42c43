"""All checks, in their order: the configuration, each tier from the fastest down, its place in the chain, the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tiered.backend import TieredBackend
from tiered.chain import Chain
from tiered.chain_url import directory_of, record_of, tier_urls, tiers_from_url
from tiered.cli.condition import chain_of
from tiered.cli.doctor import configuration, files, journal, redis
from tiered.cli.doctor.entries import check_entries
from tiered.cli.doctor.finding import Finding, Level, ok, problem
from tiered.cli.quantities import span
from tiered.config import settings_from, tiers_from_settings
from tiered.errors import Reason, StoreError
from tiered.tiers.base import Tier
from tiered.tiers.file import FileTier
from tiered.tiers.memory import MemoryTier
from tiered.tiers.redis import RedisTier

REMEDIES = {
    Reason.AUTH: "check the user and the password in the URL",
    Reason.TIMEOUT: "check that the server runs and is not overloaded; raise timeout= if the way to it is long",
}
"""Of errors whose own advice is for the log of a bot."""


def examine(config: str | None, options: Mapping[str, Any]) -> Iterator[Finding]:
    """The store of these settings. Raises `ConfigError` for what cannot work. Makes no file, writes to no store."""
    settings = {**settings_from(config), **options}
    missing = configuration.missing_directories(settings)
    if missing:
        yield from map(configuration.check_missing, missing)
        yield from _without_files(settings)
    else:
        tiers, rest = tiers_from_settings(config, options)
        with TieredBackend._over(tiers, rest) as store:
            yield from configuration.check_chain(chain_of(store), rest.get("namespace", "default"))
            yield from _check_tiers(tiers, record=tiers[-1])
            yield from _check_entries(chain_of(store), rest)
            yield from _check_places(chain_of(store), rest)
    yield from configuration.check_secrets(settings, config, "url" in options)


def _without_files(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """The tiers that can be opened without making a directory; each by itself, in the part that it has in the chain."""
    record = record_of(settings.get("url"))  # type: ignore[arg-type]  # refuses what is no chain
    for url in tier_urls(settings["url"]):
        if directory_of(url) is None:
            (tier,) = tiers_from_url(url)
            with closing(tier):
                yield from _check_tiers([tier], record=tier if url == record else None)


def _check_tiers(tiers: Sequence[Tier], *, record: Tier | None) -> Iterator[Finding]:
    """Each by itself; `record` is the one that is the store of record, if it is among them."""
    for tier in tiers:
        if isinstance(tier, MemoryTier):
            continue
        try:
            began = time.perf_counter()
            if isinstance(tier, FileTier) and tier is record:
                tier.generation("")  # to be asked as a cache leaves a file
            else:
                tier.probe()
            yield ok(f"{tier.name}.reachable", f"{tier.name} answers within {span(time.perf_counter() - began)}")
            if isinstance(tier, RedisTier):
                yield from redis.check_redis(tier, record=tier is record)
            if isinstance(tier, FileTier):
                yield from files.check_directory(tier.directory, tier.name)
        except StoreError as error:
            yield unreachable(tier.name, error)
        except OSError as error:
            yield problem(
                f"{tier.name}.permissions", f"{tier.name}: {error}", "check the owner and mode of its directory"
            )


def unreachable(name: str, error: StoreError) -> Finding:
    """What an error of a tier means to an operator."""
    text, _, advice = str(error).partition("; ")
    if error.reason is Reason.MISUSE:
        return problem(f"{name}.permissions", text, redis.RIGHTS)
    return Finding(
        f"{name}.reachable",
        Level.UNREACHABLE,
        text,
        REMEDIES.get(error.reason) or advice or "see the log of the server",
    )


def _check_entries(chain: Chain, options: Mapping[str, Any]) -> Iterator[Finding]:
    if chain.record is chain.memory:
        return
    with suppress(StoreError):  # whether it can be reached is among the findings
        yield check_entries(chain, options.get("namespace", "default"))


def _check_places(chain: Chain, options: Mapping[str, Any]) -> Iterator[Finding]:
    """What the record and its journal know of each cache tier."""
    if options.get("journal"):
        yield from files.check_directory(Path(options["journal"]), "journal")
    if chain.record.journal is None:
        return
    for guard in chain.guards:
        try:
            yield journal.check_backlog(chain, guard, chain.record.journal)
            identity = guard.tier.probe()
            yield journal.check_data(guard, chain.record.journal, identity)
            yield from journal.check_claim(chain, guard, options.get("namespace", "default"))
        except StoreError:
            continue  # which tier cannot be reached is among the findings
