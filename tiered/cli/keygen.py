"""`tiered keygen`: a new key, on standard output or at the end of a key file that nobody else may read."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tiered.cli.command import add_command

OK = 0

EXAMPLES = """examples:
  tiered keygen june --out keys       make the file, or add to it; its first key is the one that writes
  tiered keygen june                  on standard output, for a secret store

`>> keys` would make a file that others may read under the usual umask, and such a file is refused.
--out makes it for its user only (mode 0600)."""


def add_keygen(commands: Any) -> None:
    """Register the command."""
    keygen = add_command(commands, "keygen", "make a new key, as a line for a key file", EXAMPLES)
    keygen.add_argument("id", nargs="?", metavar="ID", help="of the key (default: today's date)")
    keygen.add_argument("--out", metavar="FILE", help="append it to this file instead of printing it")
    keygen.set_defaults(standalone=_keygen)


def _keygen(args: argparse.Namespace) -> int:
    from tiered.arguments import expanded
    from tiered.codecs.keys import append_key, new_key

    line = new_key(args.id or time.strftime("%Y-%m-%d"))
    if args.out is None:
        print(line)
    else:
        append_key(Path(expanded(args.out)), line)
    return OK
