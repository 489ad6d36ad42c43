"""Checks of the metrics that a running process exposes: who can read them, and what they say."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tiered.cli.activity import CacheActivity, activities
from tiered.cli.doctor.finding import Finding, Level, advice, ok, problem, unknown
from tiered.cli.endpoints import EXAMPLE, Endpoints
from tiered.cli.series import Change, Series
from tiered.errors import StoreUnavailable

PAUSE = 1.0


def check_metrics(endpoints: Endpoints | None) -> Iterator[Finding]:
    """With two looks, a second apart."""
    if endpoints is None:
        fix = f"give the endpoint of a running bot: --metrics {EXAMPLE}"
        yield unknown("metrics.exposure", "the metrics of running processes", fix)
        return
    try:
        before = endpoints.look()
        time.sleep(PAUSE)
        now = endpoints.look()
    except StoreUnavailable as error:
        fix = "start it with serve_metrics() or mount the metrics into the bot's own server"
        yield Finding("metrics.exposure", Level.UNREACHABLE, str(error), fix)
        return
    for url, why in endpoints.silent.items():
        yield Finding("metrics.exposure", Level.UNREACHABLE, f"{url}: {why}", "is that process running?")
    yield from _check_exposure(endpoints)
    yield from _check_content(before, now)


def _check_exposure(endpoints: Endpoints) -> Iterator[Finding]:
    open_to_all = [
        url for url in endpoints.urls if url.startswith("http:") and not _loopback(urlsplit(url).hostname or "")
    ]
    if open_to_all:
        fix = "bind it to 127.0.0.1, or use serve_metrics(certfile=…), and a firewall"
        yield advice("metrics.exposure", f"{open_to_all[0]} is open to its network, without TLS", fix)
    else:
        yield ok("metrics.exposure", f"{', '.join(endpoints.urls)}: on loopback, or with TLS")


def _check_content(before: Series, now: Series) -> Iterator[Finding]:
    caches = activities(Change(before, now))
    if not caches:
        fix = "call tiered.observability.metrics.install() or serve_metrics() in the bot, after it has opened a store"
        yield problem("metrics.content", "there are no metrics of tiered", fix)
    for cache in caches:
        yield from _check_cache(cache, now)


def _check_cache(cache: CacheActivity, now: Series) -> Iterator[Finding]:
    check, quiet = f"metrics.{cache.cache}", True
    for tier in (it for it in cache.tiers if it.away):
        quiet = False
        text = (
            f"{cache.cache}: the breaker of {tier.tier} is {tier.state} in {tier.away} of {cache.processes} processes"
        )
        yield problem(
            check, text, f"see the checks of {tier.tier} above; it closes by itself within seconds of its return"
        )
    if cache.dropped:
        quiet = False
        text = f"{cache.cache}: {cache.dropped:,} writes were dropped from the journal, which was full"
        yield advice(check, text, "the tier started anew, so nothing old is read; see why it was away for so long")
    if cache.errors:
        quiet = False
        yield problem(
            check, f"{cache.cache}: callers see errors now", "see the log of the process, and the checks above"
        )
    if any(not value for _, value in now.of("tiered_invalidation_connected", cache=cache.cache)):
        quiet = False
        fix = "see the checks of Redis above; meanwhile memory is looked up again within the staleness bound"
        yield advice(check, f"{cache.cache}: a process does not hear what others write", fix)
    if quiet:
        yield ok(check, f"{cache.cache}: its breakers are closed, and no caller sees an error")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
