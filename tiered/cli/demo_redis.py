"""The demo's Redis: the user's by URL, or one of its own that it may kill."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path


def find_redis(directory: Path, url: str | None) -> tuple[DemoRedis | None, str | None, str]:
    """Our own server if we could start one, the URL of the Redis to use if there is any, and where it comes from."""
    if url := url or os.environ.get("REDIS_URL"):
        return None, url, "yours"
    binary = redis_binary()
    if binary is None:
        return None, None, "no --redis-url, no REDIS_URL and no redis-server here; install one to see it killed"
    redis = DemoRedis(binary, directory)
    try:
        redis.start()
    except (OSError, RuntimeError) as error:
        redis.stop()
        return None, None, str(error)
    return redis, f"redis://127.0.0.1:{redis.port}/0", "our own"


def redis_binary() -> str | None:
    """The redis-server of this machine, or the one that `make test` unpacks here; None if there is none."""
    local = Path(".redis/usr/bin/redis-server")
    return shutil.which("redis-server") or (str(local.resolve()) if os.access(local, os.X_OK) else None)


class DemoRedis:
    """A redis-server on loopback and a free port, without persistence."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self) -> None:
        """Start it and wait until it accepts connections; raises `RuntimeError` or `OSError`."""
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory), "--save", "")
        # A session of its own: Ctrl-C is for the demo, which still has to check what was acknowledged.
        self._process = subprocess.Popen(
            [self._binary, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(500):
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._binary} ended at once with code {self._process.returncode}")
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
        """End it for good. Idempotent."""
        self.kill()
