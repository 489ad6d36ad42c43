"""What happens to Redis, on a real server: signals, restarts, and a proxy for flapping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import redis

from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]


class Fault(Protocol):
    """Something that befalls `server`; `url` is where the systems find it."""

    title: str
    url: str

    def __init__(self, server: RedisServer) -> None: ...

    def prepare(self) -> None:
        """Called before the phase "before", when the load has warmed up."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


class _Direct:
    def __init__(self, server: RedisServer) -> None:
        self._server, self.url = server, server.url

    def prepare(self) -> None:
        pass

    def close(self) -> None:
        pass


class Hang(_Direct):
    title = "Redis hung (SIGSTOP)"

    def begin(self) -> None:
        self._server.freeze()

    def end(self) -> None:
        self._server.thaw()


class Empty(_Direct):
    title = "Redis killed, restarted empty"

    def begin(self) -> None:
        self._server.kill()

    def end(self) -> None:
        self._server.start()


class Snapshot(Empty):
    title = "Redis killed, restarted from an older snapshot"

    def prepare(self) -> None:
        with redis.Redis.from_url(self._server.url) as client:
            client.save()


class Flap:
    """In a process of its own, so that the proxy does not compete with the load for the interpreter lock."""

    title = "Redis flapping: 0.3 s gone, 0.2 s there"

    def __init__(self, server: RedisServer) -> None:
        command = [sys.executable, "-m", "benchmarks.outage.flapping", str(server.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.url = f"redis://127.0.0.1:{self._said()}/0"

    def prepare(self) -> None:
        pass

    def begin(self) -> None:
        self._tell("flap")

    def end(self) -> None:
        self._tell("pass")

    def close(self) -> None:
        self._process.communicate()

    def _tell(self, mode: str) -> None:
        assert self._process.stdin is not None
        print(mode, file=self._process.stdin, flush=True)
        self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the proxy process ended early; its standard error says why")
        return line


FAULTS: dict[str, type[Fault]] = {"hang": Hang, "empty": Empty, "snapshot": Snapshot, "flap": Flap}
