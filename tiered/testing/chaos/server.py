"""A redis-server of the kit's own, which may be harmed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis


class OwnRedis:
    """A redis-server on loopback and a free port; it comes back with the data of the last `save`, or empty."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @classmethod
    def found(cls, directory: Path) -> OwnRedis | None:
        """One with the redis-server of this machine; None if there is none."""
        local = Path(".redis/usr/bin/redis-server")  # where `make test` unpacks one
        binary = shutil.which("redis-server") or (str(local.resolve()) if os.access(local, os.X_OK) else None)
        return None if binary is None else cls(binary, directory)

    def start(self) -> None:
        """Start it and wait until it has loaded its data; raises `RuntimeError`."""
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory), "--save", "")
        # A session of its own: Ctrl-C is for the campaign, which ends it.
        self._process = subprocess.Popen(
            [self._binary, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(1000):
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._binary} ended at once with code {self._process.returncode}")
            try:
                self._command("PING")
                return
            except redis.RedisError:
                time.sleep(0.01)
        raise RuntimeError("redis-server did not come up within ten seconds")

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    stop = kill

    def save(self) -> None:
        """Write its data to its file now."""
        self._command("SAVE")

    def forget(self) -> None:
        """Remove that file, so that it comes back empty."""
        (self._directory / "dump.rdb").unlink(missing_ok=True)

    def flush(self) -> None:
        """Drop all data, as if everything had been evicted."""
        self._command("FLUSHALL")

    def _command(self, name: str) -> None:
        with redis.Redis(port=self.port, socket_timeout=5.0) as client:
            client.execute_command(name)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
