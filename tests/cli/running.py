"""The command line as a process: its output, and what a terminal of some width shows of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pyte

from tests.waiting import LIMIT

COMMAND = (sys.executable, "-m", "tiered.cli")


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would point to a store, and with `more`."""
    unwanted = ("REDIS_URL", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: it for name, it in os.environ.items() if name not in unwanted and not name.startswith("TIERED_")}
    return {**kept, **more}


def tiered(*args: str, url: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    where = {"TIERED_URL": url} if url else {}
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, env=environment(**where, **env), timeout=LIMIT
    )


class Terminal:
    """`tiered ARGS` on a terminal of its own. Use it in a `with`; what is shown is in `screen`."""

    def __init__(self, *args: str, columns: int, url: str = "", **env: str) -> None:
        self.screen = pyte.Screen(columns, 24)
        self._stream, self.raw = pyte.ByteStream(self.screen), b""
        self._main, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        where = {"TIERED_URL": url} if url else {}
        environ = environment(TERM="xterm-256color", **where, **env)
        ends: dict[str, Any] = {"stdin": inner, "stdout": inner, "stderr": inner}
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            **ends,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # a runner may have it ignored
        )
        os.close(inner)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def text(self) -> str:
        return "\n".join(self.lines())

    def until(self, true: Callable[[str], object]) -> str:
        """What is shown as soon as `true` of it is."""
        deadline = time.monotonic() + LIMIT
        while not true(self.text()):
            assert time.monotonic() < deadline, f"it never came to that:\n{self.text()}"
            assert self._read(), f"it ended before:\n{self.text()}"
        return self.text()

    def interrupt(self) -> int:
        """Press Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Wait for it; its exit code."""
        deadline = time.monotonic() + LIMIT
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
        return self.process.wait(LIMIT)

    def _read(self) -> bool:
        """What has come; False when nothing more can."""
        if not select.select([self._main], [], [], 0.2)[0]:
            return True
        try:
            chunk = os.read(self._main, 65_536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.raw += chunk
        self._stream.feed(chunk)
        return bool(chunk)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._main)
