"""What a signal handler raises in the middle of encoding or decoding is the handler's, and no damage of what is stored."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from tiered import FileTier, MemoryTier, TieredBackend
from tiered.codecs import MsgpackCodec, register
from tiered.codecs.pickle import PickleCodec
from tiered.errors import Corrupt, InvalidValue, Unreadable


class TooSlow(Exception):
    """As programs raise that give themselves a time limit by `signal.alarm`."""


@contextmanager
def alarmed() -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


class Slow:
    """Its n-th making or unmaking is hit by a signal; with `broken`, every one of them fails by itself."""

    signals = 0
    broken = False

    def __init__(self, n: int) -> None:
        self.n = n

    @classmethod
    def step(cls) -> None:
        if cls.broken:
            raise ZeroDivisionError
        if cls.signals:
            cls.signals -= 1
            signal.raise_signal(signal.SIGUSR1)

    def __getstate__(self) -> dict[str, int]:
        self.step()
        return {"n": self.n}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.step()
        self.n = state["n"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    Slow.signals, Slow.broken = 0, False
    with alarmed():
        yield
    Slow.signals, Slow.broken = 0, False


def registered() -> MsgpackCodec:
    return MsgpackCodec([register(Slow, dump=Slow.__getstate__, load=_loaded)])


def _loaded(state: Any) -> Slow:
    made = Slow(0)
    made.__setstate__(state)
    return made


@pytest.mark.parametrize("codec", [PickleCodec(), registered()], ids=["pickle", "msgpack"])
def test_a_handlers_exception_leaves_a_decode_as_it_is(codec: Any) -> None:
    payload = codec.encode([Slow(1)])
    Slow.signals = 1
    with pytest.raises(TooSlow):
        codec.decode(payload)
    assert codec.decode(payload)[0].n == 1


def test_a_handlers_exception_leaves_an_encode_as_it_is() -> None:
    Slow.signals = 1
    with pytest.raises(TooSlow):
        PickleCodec().encode(Slow(1))


@pytest.mark.parametrize("codec", [PickleCodec(), registered()], ids=["pickle", "msgpack"])
def test_what_fails_every_time_is_told_as_before(codec: Any) -> None:
    payload = codec.encode([Slow(1)])
    Slow.broken = True
    with pytest.raises((Corrupt, Unreadable)):
        codec.decode(payload)
    with pytest.raises((InvalidValue, ZeroDivisionError)):
        codec.encode([Slow(1)])


def test_nothing_is_counted_as_damage_and_the_value_is_still_there(tmp_path: Any) -> None:
    with TieredBackend([MemoryTier(), FileTier(tmp_path)], codec=registered()) as store:
        store.set("k", Slow(7))
    with TieredBackend([MemoryTier(), FileTier(tmp_path)], codec=registered()) as store:
        Slow.signals = 1
        with pytest.raises(TooSlow):
            store.get("k")
        assert store.get("k").n == 7
        assert store.stats()["tiers"]["file"]["corrupt"] == 0
