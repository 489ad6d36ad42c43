"""What a process that starts now reads of the acknowledged writes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outage.faults import ROOT
from benchmarks.outage.ledger import number_of
from benchmarks.systems import AsyncSystem, System, open_system


@dataclass(frozen=True, slots=True)
class FreshReads:
    """Keys whose last acknowledged write is gone, keys that read as an older one, and reads that raised."""

    lost: int
    old: int
    errors: dict[str, int]


def read_afresh(system: str, redis_url: str, directory: Path, written: Mapping[str, int]) -> FreshReads:
    """Compare `written`, keys and the numbers of their last acknowledged writes, in a new process."""
    command = [sys.executable, "-m", "benchmarks.outage.fresh", system, redis_url, str(directory)]
    done = subprocess.run(command, input=json.dumps(dict(written)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"a fresh process of {system} failed with exit code {done.returncode}")
    return FreshReads(**json.loads(done.stdout))


def main() -> None:
    name, redis_url, directory = sys.argv[1:]
    written: dict[str, int] = json.load(sys.stdin)
    system = open_system(name, redis_url, Path(directory))
    keys = list(written)
    answers = asyncio.run(_aread(system, keys)) if isinstance(system, AsyncSystem) else _read(system, keys)
    lost = old = 0
    errors = Counter[str]()
    for last, answer in zip(written.values(), answers, strict=True):
        if isinstance(answer, Exception):
            errors[type(answer).__name__] += 1
        elif answer is None:
            lost += 1
        else:
            old += number_of(answer) < last
    print(json.dumps({"lost": lost, "old": old, "errors": errors}))


def _read(system: System, keys: Sequence[str]) -> list[str | Exception | None]:
    answers: list[str | Exception | None] = []
    for key in keys:
        try:
            answers.append(system.get(key))
        except Exception as error:  # counted and reported
            answers.append(error)
    system.close()
    return answers


async def _aread(system: AsyncSystem, keys: Sequence[str]) -> list[str | Exception | None]:
    answers: list[str | Exception | None] = []
    await system.open()
    for key in keys:
        try:
            answers.append(await system.get(key))
        except Exception as error:  # counted and reported
            answers.append(error)
    await system.close()
    return answers


if __name__ == "__main__":
    main()
