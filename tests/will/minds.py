"""Will's own mixins in a process of their own, and the directories of bots."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.waiting import LIMIT
from tests.will.home import EXAMPLE, PROGRAMS, PYTHON

WILLS_OWN = "Error decrypting.  Attempting unencrypted load to ease migration."
"""What Will logs with each load while its encryption is off, and succeeds."""
CONFIG = "import tiered.integrations.will\nSTORAGE_BACKEND = 'tiered'\n"


def environment(**more: str) -> dict[str, str]:
    """What a bot of a test finds: no setting of the machine's own."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("WILL_", "TIERED_", "REDIS"))}
    return {**mine, "EXAMPLE": str(EXAMPLE), "WILL_SECRET_KEY": "hush", "PYTHONUNBUFFERED": "1", **more}


class Mind:
    """A process in the bot's `directory`, whose config.py says `config` (by default only that storage is tiered)."""

    def __init__(self, directory: Path, config: str = "", *, head: str = CONFIG, **settings: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "config.py").write_text(head + config)
        self._said = directory / "said"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [PYTHON, "-W", "ignore", PROGRAMS / "mind.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                cwd=directory,
                env=environment(**settings),
            )
        self.log = ""
        """What the last call logged."""
        assert self._read() == "ready"

    def __call__(self, expression: str) -> Any:
        """The value of `expression` there; raises `Refused` for what it raised."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(expression) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        self.log = answer["log"].replace(WILLS_OWN, "").strip()
        if answer["error"]:
            raise Refused(answer["error"])
        return ast.literal_eval(answer["value"])

    def said(self) -> str:
        """What Will has printed, on one line."""
        return " ".join(self._said.read_text().split())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def close(self) -> int:
        """Let it end by itself; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(LIMIT)
        self._end()
        return code

    def __enter__(self) -> Mind:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], LIMIT)
        assert ready, "the mind hangs"
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the mind ended: {self.said()}")
        return json.loads(line)

    def _end(self) -> None:
        self._process.wait(LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            if not pipe.closed:
                pipe.close()


class Refused(Exception):
    """What an expression raised there: its type and its message."""
