"""The demo's judgement: every acknowledged write, read back through stores that never saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tiered.backend import TieredBackend
from tiered.cli.demo_bot import Bot
from tiered.cli.demo_screen import Screen


def check(chain: Sequence[str], namespace: str, bots: Sequence[Bot], screen: Screen) -> list[str]:
    """What is missing or old, through a fresh chain and through the store of record alone."""
    owned, shared = _expected(bots)
    wrong: list[str] = []
    for way, part in (("memory, tiers and file", chain), ("the file alone", chain[-1:])):
        with TieredBackend.from_url(",".join(part), namespace=namespace) as store:
            held = store.get_many([*owned, *shared])
        found = [
            *(_verdict(key, held.get(key), value, held.get(key) == value) for key, value in owned.items()),
            *(
                _verdict(key, held.get(key), number, _counted(held.get(key)) == number)
                for key, number in shared.items()
            ),
        ]
        bad = [f"{line} through {way}" for line in found if line]
        screen.say(f"check through {way}: {len(found) - len(bad):,} of {len(found):,} entries as acknowledged")
        wrong += bad
    return wrong


def acknowledged(bots: Sequence[Bot]) -> int:
    """The entries that `check` looks at."""
    return sum(map(len, _expected(bots)))


def _expected(bots: Sequence[Bot]) -> tuple[dict[str, Any], Counter[str]]:
    """Last acknowledged values of keys with one writer, and how often each shared key was acknowledged in all.

    A key with an `Ambiguous` write was not acknowledged: either value would be right.
    """
    owned, shared, unsure = dict[str, Any](), Counter[str](), set[str]()
    for bot in bots:
        owned.update(bot.ledger)
        shared.update(bot.shared)
        unsure |= bot.unsure
    for key in unsure:
        owned.pop(key, None)
        shared.pop(key, None)
    return owned, shared


def _counted(held: Any) -> Any:
    return held["count"] if isinstance(held, dict) else held


def _verdict(key: str, held: Any, wanted: Any, right: bool) -> str:
    if right:
        return ""
    return f"{key}: missing" if held is None else f"{key}: old or wrong, {held!r:.60} instead of {wanted!r:.60}"
