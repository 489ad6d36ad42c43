"""`tiered verify`, `repair` and `replay`: compare the tiers with the store of record, and make them agree."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tiered.cli.command import add_command
from tiered.cli.condition import chain_of
from tiered.cli.progress_line import watched

if TYPE_CHECKING:
    from tiered.verification.report import Kind, Report, TierReport

OK, PROBLEMS, UNREACHABLE = 0, 1, 3

EXAMPLES = """examples:
  tiered verify                   compare, change nothing
  tiered verify --all --json      every namespace, for a script
  tiered repair                   what would be mended
  tiered repair --apply           mend it
  tiered replay                   write now what cache tiers have missed; a running bot does so by itself

Exit code 0 if all agree, 1 if faults are left (replay: if a tier does not take something),
2 if it cannot run like this, 3 if a tier cannot be reached."""

MEANS = {
    "pending": "behind, and known to be: not read there until it was replayed",
    "older": "older than the record",
    "newer": "newer than the record",
    "different": "other bytes under the record's version",
    "damaged": "damaged: does not open",
    "resurrectable": "not in the record, but alive here",
    "unreadable": "unreadable in this process, and left as they are",
}
MENDED = {
    "older": "put again",
    "newer": "a new generation, caches start empty",
    "different": "a new generation, caches start empty",
    "damaged": "removed and put again",
    "resurrectable": "buried under a tombstone",
}
KEYS = (
    "Give the keys and settings that the bot has (TIERED_KEYS, TIERED_MIGRATE, TIERED_CODEC), and look again. Nothing is"
    " known to be damaged: do not delete anything for this."
)


def add_verification(commands: Any, common: argparse.ArgumentParser, positive: Callable[..., Any]) -> None:
    """Register the commands; `positive` makes an argument type for numbers above zero."""
    verify = _command(commands, common, "verify", "compare every cache tier with the store of record")
    repair = _command(commands, common, "repair", "show what differs from the store of record; --apply mends it")
    repair.add_argument("--apply", action="store_true", help="mend it (default: only show what would be done)")
    for command, run in ((verify, _verify), (repair, _repair)):
        command.add_argument("--all", action="store_true", help="all namespaces, not only --namespace")
        command.add_argument("--examples", type=positive(int), default=5, metavar="N", help="keys to name; default: 5")
        command.set_defaults(run=run)
    replay = _command(commands, common, "replay", "write now what cache tiers have missed")
    replay.set_defaults(run=_replay)


def _command(commands: Any, common: argparse.ArgumentParser, name: str, text: str) -> Any:
    return add_command(commands, name, text, EXAMPLES, common, about=f"{text[0].upper()}{text[1:]}.")


def _verify(store: Any, args: argparse.Namespace) -> int:
    return _told(watched(store.verify, every=args.all, examples=args.examples), args)


def _repair(store: Any, args: argparse.Namespace) -> int:
    return _told(watched(store.repair, every=args.all, examples=args.examples, dry_run=not args.apply), args)


def _replay(store: Any, args: argparse.Namespace) -> int:
    replayed = store.replay()
    if args.json:
        print(json.dumps(replayed))
    else:
        for tier, number in replayed.items():
            print(f"{tier}: {number:,} replayed")
        if not replayed:
            print("no cache tier between memory and the store of record: nothing to replay")
    left = [(guard.name, it) for guard in chain_of(store).guards for it in guard.refusals.all()]
    for tier, refusal in left:
        print(f"tiered: {tier} does not take {refusal}", file=sys.stderr)
    return PROBLEMS if left else OK


def _told(report: Report, args: argparse.Namespace) -> int:
    faults = any(tier.faults for tier in report.tiers)
    code = args.verdict = PROBLEMS if faults else UNREACHABLE if report.unreachable else OK
    if args.json:
        print(json.dumps(report.as_dict()))
    else:
        _Page(report, several=args.all).print()
    return code


class _Page:
    """A report for people: a paragraph for each tier, as wide as the terminal."""

    def __init__(self, report: Report, *, several: bool) -> None:
        self._report, self._several = report, several
        self._width = min(100, shutil.get_terminal_size().columns - 1)

    def print(self) -> None:
        for tier in self._report.tiers:
            self._tier(tier)
        for name, number in self._report.replayed.items():
            if number:
                self._line(f"{name}: {number:,} replayed before")
        if self._report.unreadable:
            self._line(f"UNREADABLE: {self._report.unreadable:,}. {KEYS}")
        self._line(self._verdict())

    def _tier(self, tier: TierReport) -> None:
        print(tier.tier)
        if tier.error:
            self._line(f"NOT COMPARED: {tier.error}", 4)
        held = [(kind, number) for kind, number in tier.counts.items() if number]
        if not tier.error and all(kind == "missing" for kind, _ in held):
            held = []
            self._line("nothing that could be compared" if self._report.unreadable else "holds nothing", 4)
        for kind, number in held:
            self._count(tier, kind, number)
        if not tier.enumerable:
            self._line("cannot list its keys: what only this tier has was not looked for", 4)

    def _count(self, tier: TierReport, kind: Kind, number: int) -> None:
        if kind == "same":
            text = "intact" if tier.role == "record" else f"as in {self._report.tiers[-1].tier}"
        else:
            text = MEANS.get(kind, "not held, which is no fault")
        self._line(f"{number:>10,}  {text}{self._remedy(tier, kind)}", 4, 16)
        for reason, those in tier.reasons.items() if kind == "unreadable" else ():
            self._line(f"→ {'' if those == number else f'{those:,} '}{reason}", 16, 18)
        for example in tier.examples.get(kind, ()):
            place = f"{example.namespace}: {example.key}" if self._several else example.key
            print(" " * 16 + _shortened(_printable(place), max(8, self._width - 16)))

    def _remedy(self, tier: TierReport, kind: Kind) -> str:
        if kind not in MENDED:
            return ""
        if tier.role == "record":
            return ": set or delete the key, or restore a backup"
        if self._report.dry_run is None:
            return ""
        mend = "dropped" if tier.role == "memory" else MENDED[kind]
        if self._report.new_generation and tier.role == "cache":
            mend = MENDED["newer"]
        if self._report.dry_run:
            return f" → would be mended: {mend}"
        return f" → {mend}" if kind not in tier.faults else f" → {tier.faults[kind]:,} NOT mended"

    def _verdict(self) -> str:
        report = self._report
        took = f"({report.seconds:.1f} s)"
        if left := sum(sum(tier.faults.values()) for tier in report.tiers) - report.unreadable:
            mend = {None: ". `tiered repair` shows what would be done.", True: ". `tiered repair --apply` mends them."}
            return f"FAULTS: {left:,} {took}{mend.get(report.dry_run, ' are left.')}"
        if report.unreachable:
            return f"NOT COMPARED: {', '.join(report.unreachable)} {took}"
        if report.unreadable:
            return f"All else agrees with {report.tiers[-1].tier}. {took}"
        if not report.converged:
            return f"OK, but not all of it has arrived yet. `tiered replay` does not wait. {took}"
        return f"OK: all tiers agree with {report.tiers[-1].tier}. {took}"

    def _line(self, text: str, indent: int = 0, hang: int = 0) -> None:
        start, rest = " " * indent, " " * (hang or indent)
        body = text.strip() if not hang else text
        print(textwrap.fill(body, self._width, initial_indent=start, subsequent_indent=rest, drop_whitespace=True))


def _printable(text: str) -> str:
    """Keys are data: what would move a terminal's cursor is written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
