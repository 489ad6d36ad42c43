"""A check of what the store of record holds: whether the first entries can be read by this process."""

from __future__ import annotations

from itertools import islice

from tiered.chain import Chain
from tiered.cli.doctor.finding import Finding, ok, problem
from tiered.codecs.frames import Frames
from tiered.errors import CodecError, Unreadable, Untrusted
from tiered.tiers.file import FileTier

SPACES, SAMPLE = 10, 5
"""So many namespaces are looked at, and so many entries of each."""
GIVE = "give what the bot has (TIERED_KEYS, TIERED_MIGRATE, TIERED_CODEC); do not delete anything for this"
LOOK = "tiered verify --all names all of them"


def check_entries(chain: Chain, namespace: str) -> Finding:
    """Raises `StoreError`."""
    check, opened, refused, damaged = f"{chain.record.name}.entries", 0, list[str](), list[str]()
    for name in islice(_namespaces(chain, namespace), SPACES):
        frames, page = Frames(name, chain.rules), chain.record.scan(name, "", None, SAMPLE)
        for key, frame in page.items[:SAMPLE]:
            try:
                entry = frames.open(frame, key)
                if not entry.absent(chain.clock.now()):
                    chain.decode(entry)
                opened += 1
            except (Untrusted, Unreadable) as error:
                refused.append(str(error))
            except CodecError as error:
                damaged.append(str(error))
    return _finding(check, chain.record.name, opened, refused, damaged)


def _namespaces(chain: Chain, namespace: str) -> list[str]:
    """Its own first; the others only where they are listed at once."""
    record = chain.record
    return list(dict.fromkeys([namespace, *(record.namespaces() if isinstance(record, FileTier) else ())]))


def _finding(check: str, record: str, opened: int, refused: list[str], damaged: list[str]) -> Finding:
    number = opened + len(refused) + len(damaged)
    if refused:
        text = f"{record}: {len(refused)} of {number} entries that were looked at cannot be read here"
        return problem(check, f"{text}: {refused[0]}", GIVE)
    if damaged:
        text = f"{record}: {len(damaged)} of {number} entries that were looked at do not open"
        return problem(check, f"{text}: {damaged[0]}", LOOK)
    return ok(check, f"{record}: {_entries(number)}" if number else f"{record} has no entries yet")


def _entries(number: int) -> str:
    return "the entry that was looked at opens" if number == 1 else f"{number} entries that were looked at open"
