"""Fixtures of the tests of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import Process, Server
from tests.clocks import HandClock
from tests.observability.exported import Exported

Start = Callable[..., Process]


@pytest.fixture
def exported() -> Exported:
    return Exported()


@pytest.fixture
def server() -> Server:
    return Server(HandClock())


@pytest.fixture
def start(tmp_path: Path, server: Server) -> Iterator[Start]:
    """Starts processes over one directory and one server; closed after the test."""
    processes = list[Process]()

    def start(**options: Any) -> Process:
        processes.append(Process(tmp_path / "store", server, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.store.close()
