"""The bots of docs/bots.md: as modules, and as processes that a test talks to in Telegram's place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.waiting import LIMIT

PAGE = (Path(__file__).parents[1] / "docs" / "bots.md").read_text()
CODE: dict[str, str] = dict(re.findall(r"```python (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
DRIVER = Path(__file__).parent / "integration" / "programs" / "without_telegram.py"


def pasted(name: str) -> Any:
    module = ModuleType(name)
    exec(compile(CODE[name], f"docs/bots.md, {name}.py", "exec"), module.__dict__)
    return module


class Bot:
    """A bot of the page as pasted; `url` becomes its TIERED_URL."""

    def __init__(self, name: str, place: Path, url: str, *options: str) -> None:
        (place / f"{name}.py").write_text(CODE[name])
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), f"{name}.py", *options],
            cwd=place,
            env={**os.environ, "BOT_TOKEN": "42:" + "A" * 35, "TIERED_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *updates: tuple[int, str]) -> None:
        """Are brought to the bot together."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(updates) + "\n")
        self.process.stdin.flush()

    def hear(self) -> tuple[int, str]:
        """What it sends next; one that says nothing for `LIMIT` seconds is killed, which fails the test."""
        assert self.process.stdout
        patience = threading.Timer(LIMIT, self.process.kill)
        patience.start()
        line = self.process.stdout.readline()
        patience.cancel()
        user, text = json.loads(line)
        return user, text

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
