"""The Redis of `tiered chaos`: the demo's, which can also lose its data and come back with old data."""

from __future__ import annotations

from pathlib import Path

import redis

from tiered.cli.demo_redis import DemoRedis, redis_binary


class ChaosRedis(DemoRedis):
    """A redis-server on loopback that comes back with the data of its last `save`, or empty."""

    @classmethod
    def found(cls, directory: Path) -> ChaosRedis | None:
        """One with the redis-server of this machine; None if there is none."""
        binary = redis_binary()
        return None if binary is None else cls(binary, directory)

    def __init__(self, binary: str, directory: Path) -> None:
        super().__init__(binary, directory)
        self._dump = directory / "dump.rdb"

    def save(self) -> None:
        """Write its data to its file now."""
        self._command("SAVE")

    def forget(self) -> None:
        """Remove that file, so that it comes back empty."""
        self._dump.unlink(missing_ok=True)

    def flush(self) -> None:
        """Drop all data, as if everything had been evicted."""
        self._command("FLUSHALL")

    def _command(self, name: str) -> None:
        with redis.Redis(port=self.port, socket_timeout=5.0) as client:
            client.execute_command(name)
