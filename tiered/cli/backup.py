"""`tiered backup` and `tiered restore`: a copy of the store of record, and back to it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tiered.cli.command import add_command
from tiered.cli.ending import end_as_by_ctrl_c
from tiered.cli.get import print_json
from tiered.cli.opening import given

OK = 0

BACKUP = """examples:
  tiered backup /backups/bot-$(date +%F).sqlite3          while the bot runs

The copy is consistent, and one file. An existing file at that path is replaced when the copy is whole."""

RESTORE = """examples:
  tiered restore /backups/bot-2026-11-29.sqlite3          stop the bot first

What was there is moved aside, not removed. Caches need no care: nothing that they hold of later is believed.
Exit code 0 if it was put back, 2 if nothing was changed."""


def add_backup(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the commands."""
    backup = add_command(commands, "backup", "copy the store of record to a file while it is in use", BACKUP, common)
    backup.add_argument("path", metavar="PATH")
    backup.set_defaults(run=_backup)
    restore = add_command(commands, "restore", "put the file tier back to a backup", RESTORE, common)
    restore.add_argument("path", metavar="PATH")
    restore.set_defaults(standalone=_restore)


def _backup(store: Any, args: argparse.Namespace) -> int:
    end_as_by_ctrl_c()  # without a copy left behind
    store.backup(args.path)
    size = Path(args.path).stat().st_size
    if args.json:
        print_json({"path": args.path, "bytes": size})
    else:
        print(f"{args.path}: {size:,} bytes")
    return OK


def _restore(args: argparse.Namespace) -> int:
    from tiered.chain_url import directory_of, record_of
    from tiered.config import NO_CHAIN, settings_from
    from tiered.errors import ConfigError
    from tiered.tiers.file_restore import restore

    end_as_by_ctrl_c()
    source, options = given(args)
    url = {**settings_from(source), **options}.get("url")
    if url is None:
        raise ConfigError(NO_CHAIN)
    directory = directory_of(record_of(url))
    if directory is None:
        raise ConfigError("the store of record is no file tier; restore it as its own documentation says")
    moved = restore(Path(args.path), Path(directory))
    if args.json:
        print_json({"directory": directory, "replaced": None if moved is None else str(moved)})
    else:
        aside = "" if moved is None else f"; what was there is in {moved}, remove it when you are sure"
        print(f"{directory} is as it was in {args.path}{aside}")
    return OK
