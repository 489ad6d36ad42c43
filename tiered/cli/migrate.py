"""`tiered migrate`: what Will's own File, Redis and Couchbase backends kept, into a store that Will then uses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tiered.cli.command import add_command
from tiered.cli.opening import open_store
from tiered.cli.progress_line import ProgressLine

if TYPE_CHECKING:
    from tiered.backend import TieredBackend
    from tiered.integrations.will.migration import Outcome
    from tiered.integrations.will.source import Source

OK, PROBLEMS = 0, 1

EXAMPLES = """examples (stop the bot first):
  export TIERED_URL=file:///var/lib/will
  tiered migrate will-file ~/.will --dry-run
  tiered migrate will-file ~/.will
  tiered migrate will-redis redis://localhost:6379/7
  tiered migrate will-couchbase 'couchbase://host/bucket?password=123abc' --keys ids.txt

The source is only read. Values are copied as they are, so Will reads them with its SECRET_KEY as before.
Ended in the middle? Run it again: what is there already is passed over. What is there and differs, in
its value or in when it expires, is kept, unless --overwrite. The namespace is "will" unless you set another.

Exit code 0 if all is copied and verified, 1 if something is not or nothing was found, 2 wrong usage, 3 if a side
cannot be reached."""


def add_migrate(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command and its sources."""
    migrate = add_command(commands, "migrate", "import the memory of a Will bot", EXAMPLES)
    sources = migrate.add_subparsers(dest="source", required=True, metavar="SOURCE")

    def add(name: str, text: str, place: str, source: Callable[[argparse.Namespace], Source]) -> Any:
        command = add_command(sources, name, text, EXAMPLES, common)
        command.add_argument("place", metavar=place)
        command.add_argument("--dry-run", action="store_true", help="copy nothing, and say what would be copied")
        command.add_argument("--overwrite", action="store_true", help="the source wins where the store differs")
        command.set_defaults(standalone=_migrate, open_source=source, makes_store=True)
        return command

    add("will-file", "the FILE_DIR of Will's File backend", "DIR", _file_source)
    redis = add("will-redis", "the REDIS_URL of Will's Redis backend", "URL", _redis_source)
    redis.add_argument("--match", metavar="GLOB", default="*", help="only these keys, in a database with others' keys")
    couchbase = add("will-couchbase", "the COUCHBASE_URL of Will's Couchbase backend", "URL", _couchbase_source)
    couchbase.add_argument(
        "--match", metavar="GLOB", default="*", help="only these keys, in a bucket with others' keys"
    )
    couchbase.add_argument("--keys", metavar="FILE", help="all keys, one a line or as JSON; for a server before 7.6")


def _file_source(args: argparse.Namespace) -> Source:
    from tiered.integrations.will.file_source import FileSource

    return FileSource(args.place)


def _redis_source(args: argparse.Namespace) -> Source:
    from tiered.integrations.will.redis_source import RedisSource

    return RedisSource(args.place, args.match)


def _couchbase_source(args: argparse.Namespace) -> Source:
    try:
        from tiered.integrations.will.couchbase_source import CouchbaseSource
    except ModuleNotFoundError as error:
        from tiered.extras import missing

        raise missing("the Couchbase SDK is missing", "couchbase") from error
    return CouchbaseSource(args.place, args.match, args.keys)


def _migrate(args: argparse.Namespace) -> int:
    # The source first: one that cannot be read makes no store.
    with closing(args.open_source(args)) as source, open_store(args) as store:
        outcome = _copied(source, _wills(store, args), args)
    if args.json:
        print(json.dumps(outcome.as_dict()))
    else:
        _tell(outcome)
    return OK if outcome.complete else PROBLEMS


def _copied(source: Source, store: TieredBackend, args: argparse.Namespace) -> Outcome:
    from tiered.integrations.will.migration import Migration

    line = ProgressLine()
    try:
        return Migration(source, store, dry_run=args.dry_run, overwrite=args.overwrite, on_progress=line.update).run()
    finally:
        line.clear()


def _wills(store: TieredBackend, args: argparse.Namespace) -> TieredBackend:
    """The namespace that was asked for, by whatever means; else that of the integration."""
    from tiered.config import settings_from
    from tiered.errors import ConfigError
    from tiered.integrations.will.chain import NAMESPACE
    from tiered.tiers.memory import MemoryTier

    if isinstance(store._core.chain.record, MemoryTier):
        raise ConfigError(
            "memory:// alone forgets what is copied when this command ends; add redis://, file: or couchbase://"
        )
    asked = getattr(args, "namespace", None) or settings_from(getattr(args, "config", None)).get("namespace")
    return store if asked else store.namespace(NAMESPACE)


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.copied:>10,}  {'to be copied' if outcome.dry_run else 'copied'}")
    for number, text, keys in (
        (outcome.already_there, "there already", []),
        (outcome.expired, "expired, not copied", []),
        *((number, f"left out: {what}", []) for what, number in sorted(outcome.left_out.items())),
        (outcome.different, "DIFFERENT in the store, kept there (--overwrite replaces them)", outcome.different_keys),
        (outcome.too_large, "TOO LARGE, not copied (max_value_bytes)", outcome.too_large_keys),
        (outcome.unequal, "NOT EQUAL afterwards: changed meanwhile? Run it again", outcome.unequal_keys),
    ):
        if number:
            print(f"{number:>10,}  {text}")
            for key in keys:
                print(f"{'':12}{key if key.isprintable() else json.dumps(key)}")
    if not outcome.found:
        print("NOTHING of Will's was found there: is it the right place, and is --match right?")
    elif not outcome.dry_run:
        print(f"{outcome.verified:>10,}  verified: the store of record has what the source has")
