"""`tiered chaos`: faults, a workload and a verdict, on a Redis of its own or on the user's stack."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tiered.arguments import FEEDS, READ_ORDERS
from tiered.cli.command import add_command
from tiered.cli.ending import end_as_by_ctrl_c
from tiered.cli.scratch import scratch_for

if TYPE_CHECKING:
    from tiered.cli.chaos_redis import ChaosRedis
    from tiered.testing.chaos.campaign import Plan
    from tiered.testing.chaos.checker import Report

EXAMPLES = """examples:
  tiered chaos                                    every fault, on a Redis and a directory of its own
  tiered chaos --faults hang,lose_replies --seconds 10
  tiered chaos --read-order measured --feed journal
  tiered chaos --seed 7 --json                    the same choices again, for a script
  tiered chaos --url memory://,redis://localhost:6379/0,file:./data
                                                  your own servers behind proxies, in a namespace that it clears

faults:
  refuse, hang, drop, delay, lose_replies, flap   what the network or a hung server does, to all or to one process
  flush, restart, old                             Redis evicts all, comes back empty, or with old data (without --url)
  kill                                            a process is killed in the middle of its work
  abandon                                         at last, all are cut off from Redis, write on, and end

Exit code 0 if every promise held, 1 if one was broken, 2 if it cannot run like this, 3 if a store cannot be reached."""


DEFAULTS: dict[str, object] = {
    "seconds": 30.0,
    "processes": 2,
    "threads": 2,
    "staleness": 1.5,
    "longest": 5.0,
    "faults": None,
    "read_order": "declared",
    "feed": "write",
}


def add_chaos(commands: Any, positive: Callable[[Callable[[str], Any]], Callable[[str], Any]]) -> None:
    """Register the command; `positive` makes an argument type for numbers above zero."""
    command = add_command(
        commands,
        "chaos",
        "break things on purpose and check what the store promised",
        EXAMPLES,
        about="Processes work on one store while faults come and go. Every call is recorded,\n"
        "and in the end the history is checked: lost writes, stale reads, resurrected keys, versions going back.",
    )
    command.add_argument("--url", default=None, help="the chain to test (default: a Redis and a file of its own)")
    command.add_argument("--seconds", type=positive(float), help="default: 30")
    command.add_argument("--seed", type=int, help="repeat the choices of an earlier run")
    command.add_argument("--processes", type=positive(int), metavar="N", help="default: 2")
    command.add_argument("--threads", type=positive(int), metavar="N", help="in each process; default: 2")
    command.add_argument("--faults", metavar="LIST", help="separated by commas (default: all that are possible)")
    command.add_argument("--staleness", type=positive(float), metavar="SECONDS", help="default: 1.5")
    command.add_argument("--longest", type=positive(float), metavar="SECONDS", help="for a call; default: 5")
    command.add_argument("--read-order", choices=READ_ORDERS, help="of the stores; default: declared")
    command.add_argument("--feed", choices=FEEDS, help="of the stores; default: write")
    command.add_argument("--keep", metavar="DIRECTORY", help="keep the histories there, as JSON lines")
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON on standard output")
    command.set_defaults(standalone=chaos, **DEFAULTS)


def chaos(args: argparse.Namespace) -> int:
    """Run a campaign; 0 if every promise held."""
    from tiered.cli.demo_screen import Screen
    from tiered.testing.chaos.campaign import run

    end_as_by_ctrl_c()
    args.seed = args.seed if args.seed is not None else random.randrange(2**32)
    screen = Screen(quiet=args.json)
    logging.getLogger("tiered").setLevel(logging.ERROR)  # the phases tell which faults there are
    with scratch_for("chaos") as directory:
        server = _server(args, Path(directory))
        try:
            plan = _plan(args, Path(directory), server)
            screen.say(f"seed {args.seed}; {args.processes} processes of {args.threads} threads, {args.seconds:g} s")
            report = run(plan, screen.say)
        finally:
            if server is not None:
                server.stop()
    if args.json:
        print(json.dumps({"seed": args.seed, "namespace": plan.namespace, "repeat": _repeat(args), **report.as_dict()}))
    else:
        _print(report, _repeat(args), screen)
    return 0 if report.ok else 1


def _server(args: argparse.Namespace, scratch: Path) -> ChaosRedis | None:
    """A Redis of our own if no chain was given."""
    from tiered.cli.chaos_redis import ChaosRedis
    from tiered.errors import ConfigError

    if args.url is not None:
        return None
    server = ChaosRedis.found(scratch)
    if server is None:
        raise ConfigError("no redis-server here; install one, or give a chain with --url")
    try:
        server.start()
    except (OSError, RuntimeError) as error:
        server.stop()
        raise ConfigError(f"{error}; give a chain with --url") from error
    return server


def _plan(args: argparse.Namespace, scratch: Path, server: ChaosRedis | None) -> Plan:
    from tiered.testing.chaos.campaign import Plan
    from tiered.testing.chaos.faults import FAULTS, SERVER_FAULTS
    from tiered.testing.chaos.stack import Stack

    url = args.url
    if server is not None:
        url = f"memory://?max_entries=12,redis://127.0.0.1:{server.port}/0,file://{quote(str(scratch / 'data'))}"
    possible = [fault for fault in FAULTS if server is not None or fault not in SERVER_FAULTS]
    return Plan(
        stack=Stack.of(url, max_ttl=max(120.0, 4 * args.seconds)),
        directory=_made(Path(args.keep or scratch / "history")),
        namespace=f"chaos-{os.getpid()}-{args.seed}",
        seed=args.seed,
        server=server,
        faults=args.faults.split(",") if args.faults else possible,
        seconds=args.seconds,
        processes=args.processes,
        threads=args.threads,
        staleness=args.staleness,
        longest=args.longest,
        options={"read_order": args.read_order, "feed": args.feed},
    )


def _made(directory: Path) -> Path:
    """A new one: the histories of two runs in one place would be judged as one."""
    from tiered.errors import ConfigError

    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--keep {directory}: {error.strerror}; give one that is not there yet") from error
    return directory


def _repeat(args: argparse.Namespace) -> str:
    from tiered.chain_url import redact

    command = ["tiered", "chaos", "--seed", str(args.seed)]
    if args.url:
        command += ["--url", redact(args.url)]
    for name, default in DEFAULTS.items():
        if (value := getattr(args, name)) != default:
            command += ["--" + name.replace("_", "-"), value if isinstance(value, str) else f"{value:g}"]
    return shlex.join(command)


def _print(report: Report, repeat: str, screen: Any) -> None:
    """The verdict table, the first findings, and how to see them again."""
    from tiered.testing.chaos.checker import CHECKS, DIED

    screen.say(f"\n{'check':<28}{'found':>22}{'allowed':>18}  verdict")
    for row in report.rows():
        verdict = {True: "ok", False: "BROKEN", None: ""}[row.holds]
        colour = "bad" if row.holds is False else ""
        screen.say(f"{row.check:<28}{row.found:>22}{row.allowed:>18}  {verdict}".rstrip(), colour=colour)
    for kind, number in report.errors.most_common():
        screen.say(f"  {number:,} x {kind}")
    for finding in report.findings[:10]:
        screen.say(f"{CHECKS[finding.check].upper()}: {finding.text}", colour="bad")
    for text in report.died:
        screen.say(f"{DIED.upper()}: {text}", colour="bad")
    told = (
        f"{report.calls:,} calls, {report.acknowledged:,} acknowledged writes, {report.unsure:,} that may count or not"
    )
    screen.say(f"\n{told}; {report.lagging:,} reads elsewhere lagged within {report.delta:g} s")
    if report.ok:
        screen.say("OK: every promise held.", colour="good")
    else:
        screen.say("FAILED: a promise was broken.", colour="bad")
    screen.say(f"repeat: {repeat}", wrap=False)
