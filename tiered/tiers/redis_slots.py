"""Which node of a Redis Cluster has which slot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tiered.tiers.redis_link import Link
from tiered.tiers.redis_url import Address


class Node:
    """A master and the connections to it."""

    __slots__ = ("address", "asked", "failures", "link")

    def __init__(self, address: Address, link: Link) -> None:
        self.address, self.link = address, link
        self.failures = 0
        """In a row."""
        self.asked = 0.0
        """When it last answered (monotonic)."""

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


class Span(NamedTuple):
    """A row of CLUSTER SLOTS: slots `first` to `last` and their master."""

    first: int
    last: int
    address: Address
    node: str
    """The master's id in the cluster, which is not its server run."""


def slot_of(name: str) -> int:
    """The slot of a key: of what is between its first braces, if there is something."""
    return key_slot(name.encode())


def spans_of(reply: Iterable[Any], asked: Address) -> list[Span]:
    """The rows of a CLUSTER SLOTS reply that the node at `asked` gave."""
    spans = []
    for first, last, (host, port, node, *_), *_replicas in reply:
        # A node that does not know its own address leaves it out: it is where we asked.
        address = ((host or b"").decode() or asked[0], int(port))
        spans.append(Span(int(first), int(last), address, node.decode()))
    return spans


def table_of(spans: Iterable[Span], nodes: Mapping[Address, Node]) -> list[Node | None]:
    """The node of each slot; None where no node has it."""
    table: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    for first, last, address, _ in spans:
        table[first : last + 1] = [nodes[address]] * (last + 1 - first)
    return table


def identity_of(runs: Mapping[str, str]) -> str:
    """One run for the whole cluster, from the run of each master by its node id: another one if any is another."""
    text = "\n".join(f"{node} {run}" for node, run in sorted(runs.items()))
    return f"cluster/{hashlib.sha256(text.encode()).hexdigest()}"
