"""The bot of examples/will, booted as its users boot it, and talked to through its shell backend."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from threading import Thread

from tests.servers import free_port
from tests.waiting import LIMIT, eventually
from tests.will.home import EXAMPLE, PYTHON
from tests.will.minds import environment


class Bot:
    """A bot in `directory`, where it lives again if it has lived there before. A context manager."""

    def __init__(self, directory: Path, pubsub: str, *, ready: str = "Scheduler started", **settings: str) -> None:
        shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True)
        self.port = free_port()
        self._process = subprocess.Popen(
            [PYTHON, "-W", "ignore", "run_will.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment(WILL_REDIS_URL=pubsub, WILL_HTTPSERVER_PORT=str(self.port), **settings),
            start_new_session=True,  # Will's processes are many: they end together
        )
        self.said = ""
        Thread(target=self._listen, daemon=True).start()
        self.hears(ready)

    def awake(self) -> Bot:
        """Ask until it answers: its processes subscribe one after the other, and what is said meanwhile is lost."""
        until = time.monotonic() + LIMIT
        while "PONG" not in self.said:
            assert time.monotonic() < until, self.said
            self.ask("ping")
            again = time.monotonic() + 1
            while "PONG" not in self.said and time.monotonic() < again:
                time.sleep(0.02)
        self.woke = len(self.said)
        return self

    def since(self) -> str:
        """What it has said since it was awake."""
        return self.said[self.woke :]

    def ask(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def hears(self, pattern: str) -> str:
        """Wait until the bot has said what matches; what did."""
        eventually(lambda: re.search(pattern, self.said) or self._process.poll() is not None, pattern)
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[0]

    def asked(self, text: str, pattern: str) -> str:
        """Ask, and wait for an answer that matches."""
        before = len(self.said)
        self.ask(text)
        eventually(lambda: re.search(pattern, self.said[before:]), f"{text!r} → {pattern}: {self.said[-3000:]}")
        return self.said[before:]

    def alive(self) -> int:
        """What its web server answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/keep-alive", timeout=LIMIT) as answer:
            return int(answer.status)

    def ended(self) -> int:
        """Wait until the bot has ended by itself; its exit code."""
        return self._process.wait(LIMIT)

    def stop(self) -> None:
        """As a terminal does it: every process is interrupted. What is left after that is killed."""
        os.killpg(self._process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # "TODO this hangs for some reason", says Will's source
            self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(LIMIT)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def __enter__(self) -> Bot:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while chunk := os.read(output.fileno(), 65_536):
                self.said += chunk.decode(errors="replace")
