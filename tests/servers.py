"""Real servers for tests: started on loopback and a free port, ended by their process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A redis-server of its own; `wrap` may put another command before its."""

    def __init__(self, *options: str, wrap: Callable[[list[str]], Sequence[str]] = list) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("no redis-server: run `make test`, which installs it, or install it yourself")
        self._command, self._options, self._wrap = binary, options, wrap
        self.directory = Path(tempfile.mkdtemp(prefix="tiered-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._wrap([self._command, *self._arguments()]), stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"redis-server did not come up: {' '.join(self._arguments())}")

    def _arguments(self) -> list[str]:
        fixed = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory), "--save", "")
        return [*fixed, *self._options]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
