"""What hosts tell each other through the document of the generations: keys that a cache tier lacks.

A host whose processes cannot reach a cache tier has its own journal for what it owes; those on other hosts, who still read
that tier, hear of it here. Few keys are told one by one; when there are more, the tier is given up until the next generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tiered.tiers.base import Notice
from tiered.tiers.couchbase_generations import Generations, State

MOST = 200
"""Keys of a tier that are told one by one: everybody reads them a few times in a second."""


class CouchbaseHosts:
    """See `tiered.tiers.base.Hosts`. Thread-safe."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    def tell(self, tier: str, namespace: str, keys: Sequence[str]) -> None:
        if tier not in self._generations.state().lost:  # else it is told already, as long as that state may be believed
            self._generations.edit(lambda state: _with(state, tier, namespace, keys))

    def notices(self, tier: str | None = None) -> list[Notice]:
        owed = self._generations.read().owed
        told = owed.values() if tier is None else [owed.get(tier, {})]
        return [
            Notice(namespace, key, number)
            for namespaces in told
            for namespace, keys in namespaces.items()
            for key, number in keys.items()
        ]

    def lost(self, tier: str) -> bool:
        return tier in self._generations.read().lost

    def settle(self, tier: str, notices: Sequence[Notice]) -> None:
        done = {it[:2]: it.number for it in notices}
        self._generations.edit(lambda state: _without(state, tier, done))


def _with(state: State, tier: str, namespace: str, keys: Sequence[str]) -> State:
    if tier in state.lost:
        return state
    number = state.last + 1
    mine = {name: dict(them) for name, them in state.owed.get(tier, {}).items()}
    mine.setdefault(namespace, {}).update(dict.fromkeys(keys, number))
    if sum(map(len, mine.values())) > MOST:
        owed = {name: them for name, them in state.owed.items() if name != tier}
        return replace(state, last=number, owed=owed, lost=[*state.lost, tier])
    return replace(state, last=number, owed={**state.owed, tier: mine})


def _without(state: State, tier: str, done: Mapping[tuple[str, str], int]) -> State:
    mine = {
        namespace: {key: number for key, number in keys.items() if done.get((namespace, key)) != number}
        for namespace, keys in state.owed.get(tier, {}).items()
    }
    left = {namespace: keys for namespace, keys in mine.items() if keys}
    if left == state.owed.get(tier, {}):
        return state
    return replace(state, owed={**state.owed, tier: left})
