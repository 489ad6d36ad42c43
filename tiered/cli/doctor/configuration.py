"""Checks of the configuration: before anything is opened, and of the chain that it makes."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tiered.chain import NO_JOURNAL, Chain
from tiered.chain_url import directory_of, redact, tier_urls
from tiered.cli.doctor.finding import Finding, advice, ok, problem
from tiered.cli.opening import has_store
from tiered.tiers.memory import MemoryTier

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")
_PASSWORD = re.compile(r"://[^/@,]*:[^/@,]+@|[?&]\w*password=")


def missing_directories(settings: Mapping[str, Any]) -> list[Path]:
    """Those without a store. `doctor` makes none: it would belong to whoever runs it."""
    wanted = [directory_of(url) for url in tier_urls(settings.get("url") or "")]
    wanted.append(str(settings["journal"]) if settings.get("journal") else None)
    return [path for it in wanted if it is not None and not has_store(path := Path(it))]


def check_missing(directory: Path) -> Finding:
    """Of a directory without a store: whether one can be made."""
    above = next(it for it in (directory.absolute(), *directory.absolute().parents) if it.exists())
    check, there = "file.directory", f"there is no store in {directory} yet"
    if os.access(above, os.W_OK | os.X_OK):
        text = f"{there}; the first use makes it, for its user only"
        return advice(check, text, "fine before the first start of the bot; else see whether the path is right")
    fix = f"make it for the bot's user: sudo install -d -m 700 -o BOT_USER {shlex.quote(str(directory))}"
    return problem(check, f"{there}, and {above} does not let this user make it", fix)


def check_secrets(settings: Mapping[str, Any], config: str | None, on_command_line: bool) -> Iterator[Finding]:
    """Who else can read a password."""
    url = settings.get("url") or ""
    if not _PASSWORD.search(url):
        return
    if on_command_line:
        fix = "put the chain into TIERED_URL or a --config file"
        yield advice("configuration.password", "the command line has a password in it, which others see in `ps`", fix)
    if config is not None and os.stat(config).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield advice(
            "configuration.password",
            f"{config} has a password in it and others can read it",
            f"chmod 600 {shlex.quote(config)}",
        )
    for tier in tier_urls(url):
        scheme, host = tier.partition("://")[0], _host(tier)
        if (
            _PASSWORD.search(tier)
            and scheme.startswith("redis")
            and not scheme.startswith("rediss")
            and host not in _LOOPBACK
        ):
            fix = "use rediss:// (TLS), unless the network between is your own"
            yield advice("configuration.tls", f"the password of {redact(tier)} crosses the network unencrypted", fix)


def _host(url: str) -> str:
    return urlsplit(url.replace(",", "%2C")).hostname or ""


def check_chain(chain: Chain, namespace: str) -> Iterator[Finding]:
    """What kind of store this is."""
    names = [chain.memory.name] if chain.has_memory else []
    names += [*chain.marks, chain.record.name]
    where = "" if chain.shared else "; for one process only"
    yield ok("configuration.chain", f"{' → '.join(dict.fromkeys(names))}, namespace {namespace}{where}")
    if isinstance(chain.record, MemoryTier):
        fix = "end the chain with a durable tier, as in memory://,file:./data"
        yield advice("configuration.durable", "memory is the store of record: nothing survives the process", fix)
    if chain.marks and chain.record.journal is None:
        why, _, fix = NO_JOURNAL.partition("; ")
        yield problem("configuration.journal", f"{chain.record.name} has no journal: {why}", fix)
    yield from _check_memory(chain)


def _check_memory(chain: Chain) -> Iterator[Finding]:
    most, there = chain.memory.max_bytes, _physical_memory()
    if chain.has_memory and there and most > there // 2:
        text = f"the memory tier may take {most >> 20:,} MB, and this machine has {there >> 20:,} MB; each process has its own"
        yield advice("memory.limit", text, "set max_bytes in its URL, as in memory://?max_bytes=256mb")


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # a system that does not tell
        return 0
