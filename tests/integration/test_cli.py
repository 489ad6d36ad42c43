"""The command line, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def tiered(*args: str, url: str | None = None, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("TIERED_URL", "REDIS_URL")}
    if url:
        env["TIERED_URL"] = url
    if path is not None:
        env["PATH"] = path
    return subprocess.run([sys.executable, "-m", "tiered.cli", *args], capture_output=True, text=True, env=env)


def test_set_get_ls_del(tmp_path: Path) -> None:
    url = f"memory://,file:{tmp_path}/data"
    assert tiered("set", "user:7", '{"a": 1}', "--type", "json", "--ttl", "60", url=url).returncode == 0
    assert tiered("get", "user:7", url=url).stdout == "{'a': 1}\n"
    found = json.loads(tiered("--json", "get", "user:7", url=url).stdout)
    assert found["value"] == {"a": 1} and found["tier"] == "file"
    assert tiered("ls", "user:", url=url).stdout == "user:7\n"
    assert tiered("del", "user:7", url=url).returncode == 0
    missing = tiered("get", "user:7", url=url)
    assert missing.returncode == 1 and missing.stdout == "" and "no such key" in missing.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "TIERED_URL"),
        ("redsi://localhost,file:./x", "redis"),
        ("memory://?max_entires=5,file:./x", "max_entries"),
        ("redis://localhost:99999,file:./x", "port"),
        ("file://data", "file:./data"),
        ("redis://localhost/x,file:./x", "number"),
    ],
)
def test_a_chain_that_cannot_work_is_a_usage_error_that_says_what_to_do(url: str | None, says: str) -> None:
    result = tiered("get", "k", url=url)
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr


def test_an_unreachable_store_of_record_is_exit_3() -> None:
    result = tiered("get", "k", url="redis://127.0.0.1:1/0")
    assert result.returncode == 3 and "redis" in result.stderr


def test_demo_without_a_server_keeps_every_write() -> None:
    result = tiered("demo", "--seconds", "2", "--users", "400", "--json", path="")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert report["missing"] == [] and report["errors"] == 0 and set(report["tiers"]) == {"file"}


def test_demo_kills_its_redis_and_the_bot_does_not_notice() -> None:
    result = tiered("demo", "--seconds", "4", "--users", "400", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert report["missing"] == [] and report["errors"] == 0
    assert report["written"]["redis ok"] > 0 and report["written"]["redis queued"] > 0
