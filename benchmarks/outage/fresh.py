"""What a process that starts now reads of the acknowledged writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outage.faults import ROOT
from benchmarks.outage.load import number_of
from benchmarks.outage.system import open_system


@dataclass(frozen=True, slots=True)
class FreshReads:
    """Keys whose last acknowledged write is gone, and keys that read as an older one."""

    lost: int
    old: int


def read_afresh(system: str, redis_url: str, directory: Path, written: Mapping[str, int]) -> FreshReads:
    """Compare `written`, keys and the numbers of their last acknowledged writes, in a new process."""
    command = [sys.executable, "-m", "benchmarks.outage.fresh", system, redis_url, str(directory)]
    done = subprocess.run(command, input=json.dumps(dict(written)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"a fresh process of {system} failed with exit code {done.returncode}")
    return FreshReads(**json.loads(done.stdout))


def main() -> None:
    name, redis_url, directory = sys.argv[1:]
    system = open_system(name, redis_url, Path(directory))
    lost = old = 0
    for key, last in json.load(sys.stdin).items():
        value = system.get(key)
        lost += value is None
        old += value is not None and number_of(value) < last
    system.close()
    print(json.dumps({"lost": lost, "old": old}))


if __name__ == "__main__":
    main()
