"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.machine import REFUSED
from tests.will.home import PYTHON
from tiered.observability.observed import OBSERVED

if TYPE_CHECKING:
    from tests.couchbase_servers import CouchbaseMock
    from tests.servers import RedisServer

PROFILE = os.environ.get("TIERED_TEST_PROFILE", "default")

NO_CLOCK = [HealthCheck.too_slow]  # how slow a machine is, is no finding
settings.register_profile("default", max_examples=100, deadline=None, print_blob=True, suppress_health_check=NO_CLOCK)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=NO_CLOCK)
settings.load_profile(PROFILE)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited from a shell that began this with &; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    # A seed is not forced here: Hypothesis then stops replaying the failures it has stored.
    seed = config.getoption("--hypothesis-seed", default=None)
    return f"tiered: profile {PROFILE}, hypothesis seed {'random' if seed is None else seed}"


_LEFT_OUT = pytest.StashKey[dict[str, int]]()
_SENT = "left_out"
"""Under this name a worker of pytest-xdist, which is who collects then, tells it to the process that sums up."""
_HOW = {
    "root": "`sudo make test-faults` runs them",
    "nightly": "`TIERED_TEST_PROFILE=nightly make test`, many minutes",
    "will": "the real Will bot: `make test` installs it where there is a python3.11; it cannot run on a later one",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needs = (("root", os.geteuid() == 0), ("nightly", PROFILE == "nightly"), ("will", PYTHON.exists()))
    missing = [name for name, there in needs if not there]
    left_out = {name: [item for item in items if item.get_closest_marker(name)] for name in missing}
    config.stash[_LEFT_OUT] = {name: len(its) for name, its in left_out.items() if its}
    gone = {item for its in left_out.values() for item in its}
    if gone:
        config.hook.pytest_deselected(items=list(gone))
        items[:] = [item for item in items if item not in gone]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_SENT] = session.config.stash.get(_LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)  # there is none without pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """Every worker collects all tests, so what one of them says holds."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get(_SENT, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was not tested, and why: a fault that was not caused is no fault survived."""
    write = terminalreporter.write_line
    for name, count in config.stash.get(_LEFT_OUT, {}).items():
        write(f"NOT RUN: {count} tests need {name} ({_HOW[name]})", yellow=True, bold=True)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if REFUSED in reason or "CouchbaseMock has no " in reason:
            write(f"NOT RUN: {report.nodeid}: {reason.removeprefix('Skipped: ')}", yellow=True, bold=True)


@pytest.fixture(autouse=True)
def every_store_is_closed() -> Iterator[None]:
    """One that a test leaves open has threads, files and metrics that the tests after it meet."""
    before = {chain for _, chain in OBSERVED.chains()}
    yield
    left = {name: chain for name, chain in OBSERVED.chains() if chain not in before}
    assert not left, f"left open: {', '.join(left)}"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server that the test may freeze and kill."""
    from tests.servers import RedisServer

    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_redis_server() -> Iterator[RedisServer]:
    """One server for the session; a test that harms its server takes `redis_server`."""
    from tests.servers import RedisServer

    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis_server: RedisServer) -> str:
    """The shared server, empty."""
    import redis

    with redis.Redis.from_url(shared_redis_server.url) as client:
        client.flushall()
    return shared_redis_server.url


@pytest.fixture
def couchbase_mock() -> Iterator[CouchbaseMock]:
    """A mock that the test may freeze and kill."""
    from tests.couchbase_servers import CouchbaseMock

    server = CouchbaseMock()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def couchbase_url() -> Iterator[str]:
    """The real server, if one is given, else a mock for the session; a test takes a prefix of its own."""
    from tests.couchbase_servers import REAL, CouchbaseMock

    server = None if REAL else CouchbaseMock()
    yield server.url if server else REAL
    if server:
        server.stop()
