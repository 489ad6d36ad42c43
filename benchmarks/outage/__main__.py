"""Redis hangs, dies, comes back old, and flaps under load: tiered against its peers.

make bench-outage         all of it, in about six minutes (needs redis-server; the peers come with the extra `bench`)
python -m benchmarks.outage --systems tiered,hand-rolled --faults hang --quick

Exit code: 0, or 1 if tiered lost, forgot, or returned something old, or failed a call. Timing verdicts are printed only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import machine
from benchmarks.outage.faults import FAULTS
from benchmarks.outage.outcome import Outcome
from benchmarks.outage.plan import QUICK, Plan
from benchmarks.outage.progress import Progress
from benchmarks.outage.recovery import FAULTS_WITH_RECOVERY, Recovery, recover
from benchmarks.outage.report import Result
from benchmarks.outage.scenario import run
from benchmarks.systems import LIMITS, SYSTEMS, installed


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    plan = replace(QUICK if options.quick else Plan(), seed=options.seed, rounds=options.rounds)
    if options.seconds:
        plan = replace(plan, during=options.seconds)
    result = measure(options.systems, options.faults, plan)
    print(result.table())
    if options.json:
        options.json.write_text(result.as_json() + "\n")
    return int(any(not it.met and not it.timing for it in result.verdicts.get("tiered", ())))


def measure(systems: list[str], faults: list[str], plan: Plan) -> Result:
    """Each fault for each system in turn, so that neighbours in the table were measured at nearly the same time."""
    recovering = [fault for fault in faults if fault in FAULTS_WITH_RECOVERY and "tiered" in systems]
    progress = Progress(plan.rounds * len(systems) * len(faults) + len(recovering))
    print(f"seed {plan.seed}", file=sys.stderr)
    rounds: list[Outcome] = []
    recoveries: list[Recovery] = []
    before = machine.describe()
    for turn in range(1, plan.rounds + 1):
        for fault in faults:
            for system in systems:
                progress.begin(f"round {turn}, {fault}, {system}" if plan.rounds > 1 else f"{fault}, {system}")
                rounds.append(run(system, fault, plan, progress.tell))
                progress.finish()
    for fault in recovering:
        progress.begin(f"recovery, {fault}")
        recoveries.append(recover(fault, plan.missed_writes, plan.during, progress.tell))
        progress.finish()
    return Result(plan, f"{before}, {machine.fsync_ms():.2f} ms in the end", rounds, recoveries)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__.splitlines()[0])
    for name, known, default in (("systems", SYSTEMS, _default_systems()), ("faults", tuple(FAULTS), list(FAULTS))):
        described = f"separated by commas, of {', '.join(known)}"
        parser.add_argument(f"--{name}", type=partial(_some, known), default=default, help=described)
    parser.add_argument("--seed", type=int, default=1, help="of the keys and of which calls are sets")
    parser.add_argument("--rounds", type=_count, default=1, help="all systems and faults again and again; medians")
    parser.add_argument("--seconds", type=_seconds, help="how long Redis is away, instead of 3")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; its figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser.parse_args(arguments)


def _default_systems() -> list[str]:
    here = installed()
    if absent := [name for name in SYSTEMS if name not in here]:
        print(f"not installed: {', '.join(absent)} (pip install -e '.[bench]')", file=sys.stderr)
    return [name for name in here if name not in LIMITS]


def _some(known: tuple[str, ...], text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def _seconds(text: str) -> float:
    if not 0.5 <= (seconds := float(text)) <= 600:
        raise argparse.ArgumentTypeError("from 0.5 to 600")
    return seconds


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
