"""A store that belongs to another user: refused by every command, with whose it is."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, environment
from tests.integration.test_bad_places import NOBODY
from tests.waiting import LIMIT
from tiered import FileTier

COMMANDS = (
    "get k",
    "ls",
    "del k",
    "verify",
    "stat",
    "top",
    "doctor",
    "rekey",
    "backup /dev/null/copy",
    "set k v",
    "bench",
)
LIKE_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
"""The superuser, whom modes stop as they stop anybody."""


def tiered(*args: str) -> subprocess.CompletedProcess[str]:
    command = [*LIKE_OTHERS, *COMMAND, *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=LIMIT)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory with a store that only its owner may enter."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("a user cannot give a directory to another one")
    directory = tmp_path / "data"
    FileTier(directory).close()
    for path in (*directory.iterdir(), directory):
        os.chown(path, NOBODY, NOBODY)
    return directory


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_whose_the_store_is(command: str, closed: Path) -> None:
    result = tiered(*command.split(), "--url", f"memory://,file:{closed}")
    owner = pwd.getpwuid(NOBODY).pw_name
    assert f"Permission denied; run it as its owner {owner}" in result.stderr and "Traceback" not in result.stderr
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
