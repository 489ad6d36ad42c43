"""Chains for the real Will. Nothing here runs, and the summary says so, where there is no Will."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.couchbase_servers import REAL, fresh
from tests.servers import RedisServer
from tests.will.minds import Mind

CHAINS = [
    (kind, encrypted)
    for kind in ("file", "redis", "redis+file", "memory+redis+file", "couchbase")
    for encrypted in (True, False)
]
"""And whether Will's own encryption is on."""


def chain(kind: str, redis_url: str, directory: Path, request: pytest.FixtureRequest | None = None) -> str:
    places = {"memory": "memory://", "redis": redis_url, "file": f"file:{directory}/data"}
    if "couchbase" in kind and request is not None:  # a server that few need
        places["couchbase"] = (
            f"{request.getfixturevalue('couchbase_url')}?prefix={fresh()}&timeout=10s&connect_timeout=10s"
        )
    return ",".join(places[name] for name in kind.split("+"))


@pytest.fixture(scope="module", params=CHAINS, ids=str)
def storage(
    request: pytest.FixtureRequest, shared_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mind]:
    kind, encrypted = request.param
    directory = tmp_path_factory.mktemp("bot")
    place = chain(kind, shared_redis_server.url, directory, request)
    settings = (
        f"TIERED_URL = {place!r}\nTIERED_NAMESPACE = {directory.name!r}\nENABLE_INTERNAL_ENCRYPTION = {encrypted}\n"
    )
    with Mind(directory, settings) as mind:
        mind("mind.bootstrap_storage()")
        yield mind


@pytest.fixture
def mind(storage: Mind) -> Mind:
    """Will's mixins over each chain, with Will's encryption on or off, and nothing stored."""
    assert storage("mind.clear_all_keys()") is True
    return storage


@pytest.fixture
def lists(storage: Mind, request: pytest.FixtureRequest) -> bool:
    """Whether the store of record can list its keys, which CouchbaseMock cannot."""
    kind = request.node.callspec.params["storage"][0]
    return bool(REAL) or not kind.endswith("couchbase")


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[Mind]:
    """Over a file alone, made of Will's own FILE_DIR."""
    with Mind(tmp_path / "bot", f"FILE_DIR = {str(tmp_path / 'memory')!r}\nPUBSUB_BACKEND = 'zeromq'\n") as mind:
        mind("mind.bootstrap_storage()")
        yield mind
