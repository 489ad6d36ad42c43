"""The command: its arguments, its findings on the screen, its exit code."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from tiered.cli.command import add_command
from tiered.cli.feed_arguments import add_tls_arguments
from tiered.cli.opening import given, hush
from tiered.cli.paint import painted
from tiered.cli.ticks import live

if TYPE_CHECKING:
    from tiered.cli.doctor.finding import Finding

OK, PROBLEMS, USAGE, UNREACHABLE = range(4)
_COLOURS = {"ok": "good", "advice": "warn", "problem": "bad", "unreachable": "bad", "not checked": "dim"}

EXAMPLES = """examples:
  tiered doctor --url memory://,redis://localhost:6379/0,file:./data
  tiered doctor --metrics http://127.0.0.1:9464/metrics       and what the running bot says of itself
  tiered doctor --json | jq '.findings[] | select(.level != "ok")'

It changes nothing: it makes no directory, and what it writes to Redis to see that it may is gone at once.
As the bot's user it sees what the bot sees: sudo -u BOT_USER env TIERED_URL=$TIERED_URL tiered doctor

Exit code 0 if there is no problem (advice is none), 1 if there is, 2 if the configuration cannot work,
3 if nothing is wrong but a tier cannot be reached."""


def add_doctor(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    command = add_command(
        commands,
        "doctor",
        "check the configuration, every tier and the machine; each finding with what to do",
        EXAMPLES,
        common,
    )
    command.add_argument("--metrics", action="append", metavar="URL", help="of a running process; may be repeated")
    add_tls_arguments(command)
    command.set_defaults(standalone=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    hush()
    findings = []
    for number, finding in enumerate(_findings(args), 1):
        findings.append(finding)
        if not args.json:
            _print(number, finding)
    levels = [str(finding.level) for finding in findings]
    if args.json:
        print(json.dumps({"ok": _code(levels) == OK, "findings": [asdict(finding) for finding in findings]}))
    else:
        print(_verdict(levels))
    return _code(levels)


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    from tiered.cli.doctor.examination import examine
    from tiered.cli.doctor.metrics import check_metrics
    from tiered.cli.endpoints import Endpoints
    from tiered.errors import StoreError

    endpoints = Endpoints(args.metrics, ca=args.ca, cert=args.cert) if args.metrics else None
    try:
        yield from examine(*given(args))
    except StoreError as error:  # of the store of record, when it is opened
        from tiered.cli.doctor.examination import unreachable

        yield unreachable(error.tier or "record", error)
    yield from check_metrics(endpoints)


def _code(levels: list[str]) -> int:
    return PROBLEMS if "problem" in levels else UNREACHABLE if "unreachable" in levels else OK


def _print(number: int, finding: Finding) -> None:
    width = min(100, shutil.get_terminal_size().columns - 1) if live() else 100
    level = str(finding.level)
    start = f"{number:>2} {level:<11} "
    indent = " " * (len(start) if width > 60 else 4)
    # A path or a command is copied, so it stays whole.
    fill = partial(textwrap.fill, width=width, break_on_hyphens=False, break_long_words=False)
    text = fill(start + finding.text, subsequent_indent=indent)
    print(text.replace(level, painted(level, _COLOURS[level]), 1))
    if finding.fix:
        print(fill(f"{indent}→ {finding.fix}", subsequent_indent=f"{indent}  "), flush=True)


def _verdict(levels: list[str]) -> str:
    counts = [(levels.count(level), level) for level in ("problem", "unreachable", "advice", "not checked")]
    told = ", ".join(
        f"{number} {level}{'s' * (number > 1 and level == 'problem')}" for number, level in counts if number
    )
    if _code(levels) == OK:
        return painted("OK", "good") + f": no problem in {len(levels)} checks" + (f" ({told})" if told else "")
    return painted("NOT WELL", "bad") + f": {told}, in {len(levels)} checks"
