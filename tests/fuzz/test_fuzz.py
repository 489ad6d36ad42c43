"""A moment of every fuzz target; `make fuzz` takes millions of inputs, guided by coverage."""

from __future__ import annotations

import random
import time
from itertools import islice

import pytest

from tests.fuzz.mutation import mutations
from tests.fuzz.targets import TARGETS, a_sealed_frame, a_url, stores
from tiered.codecs.frames import Frames
from tiered.errors import CodecError

INPUTS = 2500
SLOWEST = 20.0
"""Seconds that no single input may take, on however busy a machine."""


@pytest.fixture(autouse=True)
def no_third_parties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through all installed packages takes longer than everything else."""
    monkeypatch.setattr("tiered.chain_url._third_parties", lambda: ())


@pytest.mark.parametrize("name", TARGETS)
def test_no_crash_no_hang_and_nothing_that_was_not_put_in(name: str, record_property: pytest.RecordProperty) -> None:
    target, seed = TARGETS[name], random.randrange(2**32)
    record_property("seed", seed)
    for data in target.seeds:
        target.run(data)
    for data in islice(mutations(target.seeds, random.Random(seed)), INPUTS):
        began = time.thread_time()
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}: {data!r}")
            raise
        assert time.thread_time() - began < SLOWEST, f"{name}, seed {seed}: {data!r} takes too long"


def test_the_targets_notice_what_they_are_there_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, own = stores()[0]
    foreign = bytearray(next(iter(own)))
    foreign[-1] ^= 1
    a_sealed_frame(bytes(foreign))

    def trusting(self: Frames, frame: bytes, key: str) -> object:
        if len(frame) < 40:
            raise CodecError
        return frame

    monkeypatch.setattr(Frames, "open", trusting)
    with pytest.raises(AssertionError, match="nobody with a key"):
        a_sealed_frame(bytes(foreign))
    monkeypatch.setattr("tests.fuzz.targets.redact", lambda url: url)
    with pytest.raises(AssertionError):
        a_url(b"localhost")
