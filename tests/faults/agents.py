"""Stores in processes of their own, which tests cut off, limit, slow down and kill."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.strace import PATIENCE, ROOT, program


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned or raised, and how long it took."""

    value: Any
    error: str | None
    """The name of a `TieredError`; anything else ends the agent, and the test."""
    message: str
    seconds: float


class Agent:
    """A process with a store at `url`, under the command `wrap` (strace, a network namespace …). A context manager."""

    def __init__(self, url: str, *, wrap: Callable[[list[str]], Sequence[str]] = list, **options: Any) -> None:
        command = wrap(program("agent", url, json.dumps(options)))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._read() == "ready"

    def ask(self, name: str, *args: Any) -> Answer:
        """Call a method of the store, or a function of programs/agent.py."""
        self.send(name, *args)
        return self.answer()

    def send(self, name: str, *args: Any) -> None:
        """Begin to `ask`; `answer` ends it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *args]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """Of what was sent."""
        answer = self._read()
        error, message = answer["error"] or (None, "")
        return Answer(answer["value"], error, message, answer["seconds"])

    def get(self, key: str) -> Any:
        """The value of `key`; no error is allowed."""
        return self._right("get", key)

    def set(self, key: str, value: Any) -> dict[str, str]:
        """The outcome of each tier; no error is allowed."""
        tiers: dict[str, str] = self._right("set", key, value)["tiers"]
        return tiers

    def stop(self) -> None:
        """SIGSTOP: all its threads stand still until `go_on`."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: nothing is closed."""
        self._process.kill()
        self._end()

    def close(self) -> None:
        """Let it close its store and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._end()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()

    def _right(self, name: str, *args: Any) -> Any:
        answer = self.ask(name, *args)
        assert answer.error is None, answer.message
        return answer.value

    def _read(self) -> Any:
        assert self._process.stdout is not None and self._process.stderr is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, "the agent hangs"
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the agent ended: {self._process.stderr.read()}")
        return json.loads(line)

    def _end(self) -> None:
        self._process.wait(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            if not pipe.closed:
                pipe.close()


def file_url(directory: Path) -> str:
    return f"file://{directory}"


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
