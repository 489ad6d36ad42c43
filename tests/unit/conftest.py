"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import Process, Server
from tests.clocks import HandClock

Start = Callable[..., Process]


@pytest.fixture
def server() -> Server:
    return Server(HandClock())


@pytest.fixture
def start(tmp_path: Path, server: Server) -> Iterator[Start]:
    """Starts processes over one directory and one server; closed after the test."""
    processes = list[Process]()

    def start(**options: Any) -> Process:
        directory = options.pop("directory", tmp_path / "store")
        processes.append(Process(directory, options.pop("server", server), **options))
        return processes[-1]

    yield start
    for process in processes:
        process.store.close()
