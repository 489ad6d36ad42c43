"""A network of the test's own, with a firewall that decides what arrives, and a Redis in it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.machine import allowed, run, tool

PORT = 6379
TO_REDIS = f"tcp dport {PORT}"
SIDE_DOOR = "127.0.0.2"
"""Another address of the server, for a process that is to be cut off alone.

The rule must not name the process (`meta skuid`): what the kernel sends again after the process has closed its socket
belongs to nobody, passes, and the write arrives after all.
"""
TO_THE_SIDE_DOOR = f"ip daddr {SIDE_DOOR} {TO_REDIS}"

_numbers = itertools.count(1)


class Network:
    """A network namespace. Rules hold for what its processes send (`sent`) or receive (`received`)."""

    def __init__(self) -> None:
        self.name = f"tiered-{os.getpid()}-{next(_numbers)}"
        allowed("ip", "netns", "add", self.name)
        try:
            run("ip", "-n", self.name, "link", "set", "lo", "up")
            allowed(*self._nft("add", "table", "inet", "f"))
            run(*self._nft("add chain inet f sent { type filter hook output priority 0; }"))
            run(*self._nft("add chain inet f received { type filter hook input priority 0; }"))
        except BaseException:
            self.close()
            raise

    def inside(self, command: Sequence[str]) -> list[str]:
        """`command` in this network."""
        return [tool("ip"), "netns", "exec", self.name, *command]

    def add(self, chain: str, rule: str) -> None:
        run(*self._nft(f"add rule inet f {chain} {rule}"))

    def shape(self, rate: str) -> None:
        """Let no more than `rate` ("8kbit") through."""
        allowed(
            "ip",
            "netns",
            "exec",
            self.name,
            tool("tc"),
            *f"qdisc add dev lo root tbf rate {rate} burst 3kb limit 16kb".split(),
        )

    def heal(self) -> None:
        """No rules and no limit any more."""
        run(*self._nft("flush table inet f"))
        subprocess.run(self.inside([tool("tc"), "qdisc", "del", "dev", "lo", "root"]), capture_output=True)

    def close(self) -> None:
        run("ip", "netns", "del", self.name)

    def _nft(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, tool("nft"), *words]


class NetworkRedis:
    """A server inside a network; `raw` reaches it past the network, over a socket in the file system."""

    url = f"redis://127.0.0.1:{PORT}/0"
    side_url = f"redis://{SIDE_DOOR}:{PORT}/0"

    def __init__(self, network: Network) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tiered-redis-"))
        socket = self._directory / "redis.sock"
        options = (
            f"--bind 127.0.0.1 {SIDE_DOOR} --port {PORT} --unixsocket {socket} --dir {self._directory} --save".split()
        )
        self._process = subprocess.Popen(
            network.inside([tool("redis-server"), *options, ""]), stdout=subprocess.DEVNULL
        )
        self.raw = redis.Redis(unix_socket_path=str(socket))
        for _ in range(500):
            try:
                self.raw.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.01)
        raise RuntimeError("redis-server did not come up")

    def close(self) -> None:
        self.raw.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def network_with_redis() -> Iterator[tuple[Network, NetworkRedis]]:
    """Both, closed afterwards."""
    network = Network()
    try:
        server = NetworkRedis(network)
        try:
            yield network, server
        finally:
            server.close()
    finally:
        network.close()
