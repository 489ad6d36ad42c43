"""`tiered rekey`: everything written again with a new key."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tiered.cli.command import add_command
from tiered.cli.progress_line import watched

if TYPE_CHECKING:
    from tiered.rekeying import RekeyReport

OK, PROBLEMS = 0, 1

EXAMPLES = """examples:
  tiered keygen june --out keys   then move the new line to the top, and let every process have it
  TIERED_KEYS=file:keys tiered rekey --all

A run that was interrupted is continued by the next one. Exit code 0 if nothing is left that needs
another key, 1 if something is, 2 if it cannot run like this, 3 if the store cannot be reached."""


def add_rekey(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    rekey = add_command(commands, "rekey", "write again what is not encrypted with the current key", EXAMPLES, common)
    rekey.add_argument("--all", action="store_true", help="all namespaces, not only --namespace")
    rekey.set_defaults(run=_rekey)


def _rekey(store: Any, args: argparse.Namespace) -> int:
    report: RekeyReport = watched(store.rekey, every=args.all)
    code = args.verdict = OK if report.ok else PROBLEMS
    print(json.dumps(report.as_dict()) if args.json else _told(report))
    return code


def _told(report: RekeyReport) -> str:
    lines = [f"{report.rewritten:,} written again with {report.key or 'no key'}, {report.current:,} were so already"]
    if report.expired:
        lines.append(f"{report.expired:,} had expired and were removed")
    if report.overtaken:
        lines.append(f"{report.overtaken:,} were written by others meanwhile: run it once more")
    if report.unreadable:
        lines.append(f"{report.unreadable:,} do not open and were left as they are:")
        lines += [f"  {number:,} {reason}" for reason, number in report.reasons.items()]
        lines.append("the first of them:")
        lines += [f"  {namespace!a}: {key!a}" for namespace, key in report.examples]
    return "\n".join(lines)
