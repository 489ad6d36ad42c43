"""What the frames of a store are like: how they are written, and which are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tiered.arguments import choice, truth, whole
from tiered.codecs.compression import Compression
from tiered.codecs.keys import Keyring
from tiered.codecs.seals import Encryption, Seal, Signature
from tiered.entry import ENCRYPTED, SIGNED
from tiered.errors import ConfigError

PROTECTIONS = ("encrypt", "sign", "none")


class Rules(NamedTuple):
    """What frames of this store are like; one for all its namespaces."""

    compression: Compression
    max_size: int
    """Of a payload, in bytes."""
    writes: Seal | None = None
    ring: Keyring | None = None
    reads: Mapping[int, Seal | None] = {0: None}
    """By the flag that a frame must have. What is not among them is refused."""

    @property
    def plain(self) -> bool:
        """Whether payloads are written, and as a rule read, as they are."""
        return self.writes is None and list(self.reads) == [0] and not self.compression.active


PLAIN = Rules(Compression(above=None, max_size=20 * 2**20), 20 * 2**20)
"""Payloads as they are."""


def rules(
    *,
    compress_above: int | None,
    max_size: int,
    keys: Keyring | None,
    protect: str | None,
    migrate: bool,
    authentic: bool,
) -> Rules:
    """The rules of a store; `authentic` says that its codec must not see what nobody vouches for.

    Raises `ConfigError` for what cannot work, or would protect nothing.
    """
    if compress_above is not None:
        whole("compress_above", compress_above, 0, " bytes")
    truth("migrate", migrate)
    if protect is not None:
        choice("protect", protect, PROTECTIONS)
    compression = Compression(above=compress_above, max_size=max_size)
    if keys is None:
        if protect not in (None, "none") or authentic or migrate:
            what = "migrate" if migrate else "this codec" if authentic else f"protect={protect}"
            raise ConfigError(f"{what} needs keys: give keys= (TIERED_KEYS), such as env:NAME or file:PATH")
        return Rules(compression, max_size)
    protect = protect or "encrypt"
    if protect == "none" and (not migrate or authentic):
        raise ConfigError(
            "protect=none gives protection up: it needs migrate=True (TIERED_MIGRATE=1), and a codec that reads safely"
        )
    seals: dict[int, Seal | None] = {}
    if protect == "encrypt" or migrate:
        seals[ENCRYPTED] = Encryption(keys)
    if protect == "sign" or migrate:
        seals[SIGNED] = Signature(keys)
    if migrate and not authentic:
        seals[0] = None
    return Rules(compression, max_size, seals.get({"encrypt": ENCRYPTED, "sign": SIGNED}.get(protect, 0)), keys, seals)
