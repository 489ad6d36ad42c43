"""Redis hangs, dies, comes back old, and flaps under load: tiered against its peers.

make bench-outage         all of it, below five minutes (needs redis-server; the peers come with the extra `bench`)
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

from benchmarks.outage.faults import FAULTS
from benchmarks.outage.progress import Progress
from benchmarks.outage.recovery import Recovery, recover
from benchmarks.outage.report import Result
from benchmarks.outage.scenario import QUICK, Outcome, Plan, run
from benchmarks.outage.system import SYSTEMS, installed
from benchmarks.outage.verdicts import judge


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if absent := [name for name in SYSTEMS if name not in installed()]:
        print(f"not installed, so left out: {', '.join(absent)} (pip install -e '.[bench]')", file=sys.stderr)
    plan = replace(QUICK if options.quick else Plan(), seed=options.seed)
    result = measure(options.systems, options.faults, plan)
    print(result.table())
    if options.json:
        options.json.write_text(result.as_json() + "\n")
    return int(any(not it.met and not it.timing for it in result.verdicts.get("tiered", ())))


def measure(systems: list[str], faults: list[str], plan: Plan) -> Result:
    """Each fault for each system in turn, so that neighbours in the table were measured at nearly the same time."""
    progress = Progress(len(systems) * len(faults) + ("tiered" in systems))
    outcomes: list[Outcome] = []
    for fault in faults:
        for system in systems:
            progress.begin(f"{fault}, {system}")
            outcomes.append(run(system, fault, plan, progress.tell))
            progress.finish()
    recovery: Recovery | None = None
    if "tiered" in systems:
        progress.begin("recovery")
        recovery = recover(plan.missed_writes, progress.tell)
    verdicts = {
        system: judge([it for it in outcomes if it.system == system], recovery if system == "tiered" else None)
        for system in systems
    }
    return Result(plan, outcomes, recovery, verdicts)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__.splitlines()[0])
    for name, known, default in (("systems", SYSTEMS, installed()), ("faults", tuple(FAULTS), list(FAULTS))):
        described = f"separated by commas, of {', '.join(known)}"
        parser.add_argument(f"--{name}", type=partial(_some, known), default=default, help=described)
    parser.add_argument("--seed", type=int, default=1, help="of the keys and of which calls are sets")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; its figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser.parse_args(arguments)


def _some(known: tuple[str, ...], text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
