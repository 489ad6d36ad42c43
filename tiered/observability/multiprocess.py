"""Metrics where PROMETHEUS_MULTIPROC_DIR is set: prometheus_client then ignores collectors, and adds up files instead.

Every few seconds each process adds what its counters have grown by to files in that directory; gauges are written
as they are. The process that is scraped uses prometheus_client's `MultiProcessCollector`, as for all other metrics there.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from prometheus_client import values
from prometheus_client.utils import floatToGoString

from tiered.arguments import number
from tiered.errors import ConfigError
from tiered.forks import Forking, forget, register
from tiered.locks import acquire_into, release_all
from tiered.observability.catalog import CATALOG, Exported
from tiered.observability.histogram import Histogram
from tiered.observability.metrics import readings
from tiered.observability.observed import OBSERVED
from tiered.replication.breaker import State

if TYPE_CHECKING:
    from tiered.chain import Chain

logger = logging.getLogger(__name__)

SUMMED = {"tiered_entries", "tiered_size_bytes", "tiered_limit_bytes"}
"""Gauges of what each process has for itself; of the others, each process has its own sight of one thing."""
UNTROUBLED = {("tiered_breaker_state", str(State.CLOSED)), ("tiered_invalidation_connected",)}
"""Gauges whose 0 is a reason for an alert, so that they stay 1 of a cache that was closed; of all others 0 is left."""
ROOM = 2**20
"""Bytes that must be free for a series to be begun. The files are mapped: where the disk is full, the kernel ends a process that writes
to a new part of one (SIGBUS)."""
_EXPORTED = {it.name: it for it in CATALOG}


class _Sample(NamedTuple):
    """A sample as prometheus_client keeps it: a line in a file."""

    exported: Exported
    name: str
    labels: tuple[str, ...]
    values: tuple[str, ...]


class Flusher(Forking):
    """Flushes every `every` seconds, and when it is closed. A child after a fork goes on by itself, from zero.

    Raises `ConfigError` without PROMETHEUS_MULTIPROC_DIR, which prometheus_client reads when it is first imported.
    """

    def __init__(self, every: float = 5.0) -> None:
        self._every = number("every", every, 0.01, 3600, " seconds")
        if values.ValueClass is values.MutexValue:
            raise ConfigError("PROMETHEUS_MULTIPROC_DIR must be set before prometheus_client is imported")
        self._closed = False
        self._begin()
        register(self)

    def _begin(self) -> None:
        self._known: dict[_Sample, Any] = {}
        self._flushed: dict[_Sample, float] = {}
        self._gauges = set[_Sample]()
        self._chains: WeakValueDictionary[str, Chain] = WeakValueDictionary()
        # Held while files are written, and during a fork: their own lock must not be inherited held.
        self._lock = Lock()
        self._forking: deque[Lock] = deque()
        """The lock, while it is held during a fork."""
        self._stop = Event()
        self._thread = Thread(target=self._run, name="tiered-metrics-flush", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Bring the files up to date. Thread-safe. Raises `OSError` where there is no room for more series; the next time catches up."""
        with self._lock:
            self._meet()
            gauges = set[_Sample]()
            for metric, labels, value in readings():
                exported = _EXPORTED[metric]
                if isinstance(value, Histogram):
                    self._histogram(exported, labels, value)
                elif exported.kind == "counter":
                    self._grow(_Sample(exported, metric, exported.labels, labels), value)
                else:
                    sample = _Sample(exported, metric, exported.labels, labels)
                    self._value(sample).set(value)
                    gauges.add(sample)
            for sample in self._gauges - gauges:  # its cache was closed, and what is in a file stays there
                self._value(sample).set(_at_rest(sample))
            self._gauges = gauges

    def close(self) -> None:
        """Flush a last time. Close it before the backends, or what they did since the last time is not counted."""
        if not self._closed:
            self._closed = True
            self._stop.set()
            self._thread.join(timeout=5.0)
            self._try()
            forget(self)

    def __enter__(self) -> Flusher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def before_fork(self) -> None:
        if not self._forking:
            acquire_into(self._forking, self._lock)

    def after_fork_in_parent(self) -> None:
        release_all(self._forking)

    def after_fork_in_child(self) -> None:
        if not self._closed:
            self._begin()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._try()

    def _try(self) -> None:
        try:
            self.flush()
        except OSError as error:  # a full disk, say
            logger.warning("the metrics could not be written to PROMETHEUS_MULTIPROC_DIR: %s", error)

    def _meet(self) -> None:
        """Whose name another cache has by now counts from zero, however far it has got."""
        chains = dict(OBSERVED.chains())
        other = {cache for cache, chain in chains.items() if self._chains.get(cache) is not chain}
        for sample in list(self._flushed):
            of_the_collector = sample.name == "tiered_collect_errors_total"
            if sample.values[0] in other and not of_the_collector:
                del self._flushed[sample]
        self._chains = WeakValueDictionary(chains)

    def _histogram(self, exported: Exported, labels: tuple[str, ...], value: Histogram) -> None:
        """Buckets one by one, as the files have them: whoever reads them adds them up."""
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        for bound, count in zip(bounds, list(value.counts), strict=True):
            names = (*exported.labels, "le")
            self._grow(_Sample(exported, f"{exported.name}_bucket", names, (*labels, bound)), count)
        self._grow(_Sample(exported, f"{exported.name}_sum", exported.labels, labels), value.sum)

    def _grow(self, sample: _Sample, value: float) -> None:
        """Less than before: the cache was closed, and another has its name."""
        before = self._flushed.get(sample, 0.0)
        self._value(sample).inc(value - before if value >= before else value)
        self._flushed[sample] = value

    def _value(self, sample: _Sample) -> Any:
        known = self._known.get(sample)
        if known is None:
            _check_room(os.environ["PROMETHEUS_MULTIPROC_DIR"])
            exported, name, labels, given = sample
            mode = "livesum" if exported.name in SUMMED else "livemax"
            metric = exported.name.removesuffix("_total")
            known = self._known[sample] = values.ValueClass(
                exported.kind, metric, name, labels, given, exported.help, multiprocess_mode=mode
            )
        return known


def _check_room(directory: str) -> None:
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), directory)


def _at_rest(sample: _Sample) -> float:
    """What a gauge of a cache that is closed is left at."""
    return float((sample.exported.name, *sample.values[2:]) in UNTROUBLED)
