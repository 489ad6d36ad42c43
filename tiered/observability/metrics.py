"""The metrics of every backend in this process, for Prometheus: one collector that reads plain counters when it is asked.

    from tiered.observability.metrics import install, serve_metrics
    install()                       # into the registry that the bot exports already
    serve_metrics(port=9464)        # or a server of its own, on loopback

docs/metrics.md has the names, the ways to mount them, and what to do in bots of many processes.
"""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any
from weakref import WeakSet

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector
from prometheus_client.utils import floatToGoString

from tiered import __version__
from tiered.forks import Forking, register
from tiered.observability.catalog import CATALOG
from tiered.observability.histogram import Histogram
from tiered.observability.observed import OBSERVED
from tiered.observability.readings import Reading, read_chain
from tiered.observability.serving import MetricsServer, serve_metrics

__all__ = ["COLLECTOR", "MetricsServer", "asgi_app", "install", "readings", "serve_metrics", "wsgi_app"]

logger = logging.getLogger(__name__)


class TieredCollector(Collector, Forking):
    """Exports all open backends of this process. It does no I/O, and no backend can make a scrape fail."""

    def __init__(self) -> None:
        self._errors: Counter[str] = Counter()
        register(self)

    def after_fork_in_child(self) -> None:
        self._errors.clear()

    def describe(self) -> Iterable[Metric]:
        """The families without samples: a registry asks for them when it takes the collector, to refuse duplicates."""
        return [it.family() for it in CATALOG]

    def collect(self) -> Iterator[Metric]:
        families = {it.name: it.family() for it in CATALOG}
        for name, labels, value in self.readings():
            _add(families[name], labels, value)
        yield from families.values()

    def readings(self) -> Iterator[Reading]:
        """What the samples are made of."""
        yield Reading("tiered_build_info", (__version__, platform.python_version()), 1)
        for cache, chain in OBSERVED.chains():
            try:
                yield from list(read_chain(cache, chain))  # all of a chain or nothing
            except Exception:  # whatever a third party's tier does: the others, and the bot's own metrics, are exported
                if not self._errors[cache]:
                    logger.exception("%s: its metrics cannot be read (told once)", cache)
                self._errors[cache] += 1
            yield Reading("tiered_collect_errors_total", (cache,), self._errors[cache])


COLLECTOR = TieredCollector()
_installed: WeakSet[CollectorRegistry] = WeakSet()
_installing = Lock()
readings = COLLECTOR.readings


def install(registry: CollectorRegistry = REGISTRY) -> None:
    """Export the metrics of tiered from `registry`, too; once is enough, twice is harmless. Thread-safe."""
    with _installing:
        if registry not in _installed:
            registry.register(COLLECTOR)
            _installed.add(registry)


def asgi_app(registry: CollectorRegistry = REGISTRY) -> Callable[..., Any]:
    """An ASGI application that answers with the metrics, to be mounted at /metrics."""
    install(registry)
    app: Callable[..., Any] = prometheus_client.make_asgi_app(registry)
    return app


def wsgi_app(registry: CollectorRegistry = REGISTRY) -> Callable[..., Any]:
    """A WSGI application that answers with the metrics, to be mounted at /metrics."""
    install(registry)
    app: Callable[..., Any] = prometheus_client.make_wsgi_app(registry)
    return app


def _add(family: Metric, labels: tuple[str, ...], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        bounds = (*map(floatToGoString, value.bounds), "+Inf")
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric(labels, list(zip(bounds, value.cumulative(), strict=True)), value.sum)
    else:
        family.add_metric(labels, value)  # type: ignore[attr-defined]  # counters and gauges have it
