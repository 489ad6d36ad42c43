"""A reader that has gone: `tiered verify | grep -q FAULTS`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, environment, tiered
from tests.waiting import LIMIT
from tiered.codecs.keys import append_key, new_key


@pytest.mark.parametrize(
    ("command", "key", "code"),
    [
        ("verify", "june", 1),
        ("verify --json", "june", 1),
        ("repair --all", "june", 1),
        ("rekey --all", "june", 1),
        ("verify", "may", 0),
        ("ls", "may", 0),
    ],
)
def test_whoever_does_not_hear_the_verdict_gets_its_exit_code(
    tmp_path: Path, command: str, key: str, code: int
) -> None:
    url = f"memory://,file:{tmp_path}/data"
    for name in ("may", "june"):
        append_key(tmp_path / name, new_key(name))
    assert tiered("set", "k", "v", url=url, TIERED_KEYS=f"file:{tmp_path}/may").returncode == 0
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [*COMMAND, *command.split(), "--url", url],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(TIERED_KEYS=f"file:{tmp_path}/{key}"),
            timeout=LIMIT,
        )
    assert (done.returncode, done.stderr) == (code, "")
