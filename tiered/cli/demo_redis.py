"""The demo's Redis: the user's by REDIS_URL, or one of its own that it may kill."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path


def find_redis(directory: Path) -> tuple[DemoRedis | None, str | None]:
    """Our own server if we could start one, and the URL of the Redis to use if there is any."""
    if url := os.environ.get("REDIS_URL"):
        return None, url
    binary = shutil.which("redis-server")
    if binary is None:
        return None, None
    redis = DemoRedis(binary, directory)
    redis.start()
    return redis, f"redis://127.0.0.1:{redis.port}/0"


class DemoRedis:
    """A redis-server on loopback and a free port, without persistence."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory), "--save", "")
        self._process = subprocess.Popen([self._binary, *where], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("the demo's redis-server did not come up within five seconds")

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        self.kill()
