"""Signal handlers that raise (Ctrl-C, time limits by SIGALRM) at any moment of a call: no crash, no hang, nothing torn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.agents import file_url
from tests.faults.strace import finish, program

pytestmark = pytest.mark.faults

CALLS = 1000


@pytest.mark.parametrize("kind", ["BaseException", "TimeoutError", "LookupError"])
@pytest.mark.parametrize("chain", ["file", "file of its own", "redis and file", "redis and a journal"])
def test_what_a_signal_handler_raises_anywhere_comes_to_its_caller_and_leaves_every_thread_and_tier_well(
    tmp_path: Path, redis_url: str, chain: str, kind: str
) -> None:
    url = f"memory://?max_entries=5,{redis_url}?timeout=5&connect_timeout=5"
    options: dict[str, object] = {"lease_ttl": 1.0}
    if chain.startswith("file"):
        url, options = f"memory://?max_entries=5,{file_url(tmp_path)}", options | {"shared": chain == "file"}
    elif chain == "redis and file":
        url += f",{file_url(tmp_path)}"
    else:
        url, options = (
            f"{url},{redis_url}?name=record&timeout=5&connect_timeout=5",
            options | {"journal": str(tmp_path)},
        )
    result = finish(program("interrupted", url, json.dumps(options), str(CALLS), kind))
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) > CALLS // 10
