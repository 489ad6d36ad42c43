"""Frames that were compressed, signed or encrypted, and every way to change, move, swap or replay one."""

from __future__ import annotations

from itertools import permutations

import pytest
import zstandard

from tests.frames import EXPIRES, KEYS, PAYLOAD, VERSION, flips, frames, repaired, sealed
from tiered.codecs.frames import Frames
from tiered.entry import COMPRESSED, ENCRYPTED, SIGNED, TOMBSTONE, assembled, head_of, namespace_seed, open_frame
from tiered.errors import CodecError, ConfigError, Corrupt, TooLarge, Untrusted

WAYS = [None, "encrypt", "sign"]
SEALED = ["encrypt", "sign"]
SIZES = [None, 0]


@pytest.mark.parametrize("compress_above", SIZES)
@pytest.mark.parametrize("protect", WAYS)
def test_what_was_sealed_opens(protect: str | None, compress_above: int | None) -> None:
    it = frames(protect, compress_above=compress_above)
    draft = it.draft("k", PAYLOAD, 1, EXPIRES)
    frame = draft.seal(VERSION)
    entry = it.open(frame, "k")
    assert (entry.version, entry.expires_at, entry.codec, entry.payload) == (VERSION, EXPIRES, 1, PAYLOAD)
    assert draft.payload == PAYLOAD and draft.size == len(frame) and not draft.tombstone
    flag = {None: 0, "encrypt": ENCRYPTED, "sign": SIGNED}[protect]
    assert entry.flags == flag | (COMPRESSED if compress_above == 0 else 0)
    assert (PAYLOAD in frame) == (protect != "encrypt" and compress_above is None)


@pytest.mark.parametrize("protect", WAYS)
def test_a_tombstone_is_sealed_like_a_value(protect: str | None) -> None:
    it = frames(protect)
    frame = it.tombstone("k", 5).seal(VERSION)
    assert it.open(frame, "k").tombstone and frame[3] & TOMBSTONE
    if protect:
        with pytest.raises(Untrusted):
            it.open(frames(None).tombstone("k", 5).seal(VERSION + 1), "k")


@pytest.mark.parametrize("compress_above", SIZES)
@pytest.mark.parametrize("protect", WAYS)
def test_no_single_bit_can_be_changed(protect: str | None, compress_above: int | None) -> None:
    it = frames(protect, compress_above=compress_above)
    for changed in flips(sealed(it)):
        with pytest.raises(CodecError):
            it.open(changed, "k")


@pytest.mark.parametrize("compress_above", SIZES)
@pytest.mark.parametrize("protect", SEALED)
def test_no_single_bit_can_be_changed_by_one_who_repairs_the_checksum(protect: str, compress_above: int | None) -> None:
    it = frames(protect, compress_above=compress_above)
    for frame in (sealed(it), it.tombstone("k", 5).seal(VERSION)):
        for changed in flips(frame):
            if changed[:29] + changed[33:] != frame[:29] + frame[33:]:
                with pytest.raises(CodecError):
                    it.open(repaired(changed), "k")


@pytest.mark.parametrize("protect", WAYS)
def test_no_truncation_and_no_addition_opens(protect: str | None) -> None:
    it = frames(protect)
    frame = sealed(it)
    for end in range(len(frame)):
        with pytest.raises(CodecError):
            it.open(frame[:end], "k")
        if protect and end >= 33:
            with pytest.raises(Untrusted):
                it.open(repaired(frame[:end]), "k")
    for more in (b"\0", frame):
        with pytest.raises(CodecError):
            it.open(frame + more, "k")
        if protect:
            with pytest.raises(Untrusted):
                it.open(repaired(frame + more), "k")


@pytest.mark.parametrize("protect", SEALED)
def test_no_value_can_be_moved_to_another_key_or_namespace(protect: str) -> None:
    names = ["n", "n2", "N"]
    keys = ["k", "kk", "n", "", "k\0", "\0k"]
    places = [(name, key) for name in names for key in keys]
    stores = {name: frames(protect, name) for name in names}
    for (name, key), (to, under) in permutations(places, 2):
        frame = sealed(stores[name], key)
        for moved in (frame, repaired(frame, to, under)):
            with pytest.raises(CodecError):
                stores[to].open(moved, under)


@pytest.mark.parametrize("protect", SEALED)
def test_no_header_can_be_given_to_another_payload(protect: str) -> None:
    """Version, expiry and codec of one frame with the payload of another of the same key: a replay that lies."""
    it = frames(protect)
    old, new = sealed(it, version=1), it.draft("k", PAYLOAD, 2, EXPIRES + 1).seal(2)
    for head, body in ((new, old), (old, new)):
        with pytest.raises(Untrusted):
            it.open(repaired(head[:29] + b"0000" + body[33:]), "k")
    for fields in ((VERSION + 1, EXPIRES, EXPIRES), (VERSION, 0, EXPIRES), (VERSION, EXPIRES, 0)):
        frame = sealed(it)
        head = head_of(frame[3], 1, *fields)
        with pytest.raises(Untrusted):
            it.open(assembled(head, namespace_seed("n"), "k", frame[33:]), "k")


@pytest.mark.parametrize("protect", SEALED)
def test_a_replay_is_as_old_as_it_was(protect: str) -> None:
    it = frames(protect)
    assert it.open(sealed(it, version=1), "k").version == 1


@pytest.mark.parametrize("protect", SEALED)
@pytest.mark.parametrize("other", [None, "encrypt", "sign"])
def test_no_downgrade(protect: str, other: str | None) -> None:
    if protect == other:
        return
    foreign = sealed(frames(other))
    with pytest.raises(Untrusted, match="migrate"):
        frames(protect).open(foreign, "k")
    assert frames(protect, migrate=True).open(foreign, "k").payload == PAYLOAD
    both = bytearray(foreign)
    both[3] |= ENCRYPTED | SIGNED
    for it in (frames(protect), frames(protect, migrate=True)):
        with pytest.raises(Untrusted):
            it.open(repaired(bytes(both)), "k")


def test_a_store_without_keys_says_what_is_missing() -> None:
    for protect in SEALED:
        with pytest.raises(Untrusted, match="give keys="):
            frames(None).open(sealed(frames(protect)), "k")


@pytest.mark.parametrize("protect", SEALED)
def test_other_keys_and_other_secrets_open_nothing(protect: str) -> None:
    frame = sealed(frames(protect))
    with pytest.raises(Untrusted, match="'k2', which is not among the keys"):
        frames(protect, keys={"other": KEYS["k2"]}).open(frame, "k")
    with pytest.raises(Untrusted):
        frames(protect, keys={"k2": KEYS["k1"]}).open(frame, "k")


@pytest.mark.parametrize("protect", SEALED)
def test_the_first_key_writes_and_all_read(protect: str) -> None:
    before, after = frames(protect, keys={"k1": KEYS["k1"]}), frames(protect)
    old, new = sealed(before), sealed(after)
    assert after.open(old, "k").payload == after.open(new, "k").payload == PAYLOAD
    assert after.is_current(new) and not after.is_current(old) and not after.is_current(sealed(frames(None)))


def test_equal_values_have_nothing_in_common() -> None:
    it = frames()
    bodies = {sealed(it)[33:][len(b"\x02k2") + 16 :] for _ in range(100)}
    assert len(bodies) == 100 == len({body[:12] for body in bodies})


def test_the_same_secret_signs_and_encrypts_with_different_keys() -> None:
    """A frame of one way, declared to be of the other, is refused even where both are taken."""
    it = frames("encrypt", migrate=True)
    for protect, flag in (("encrypt", SIGNED), ("sign", ENCRYPTED)):
        frame = bytearray(sealed(frames(protect)))
        frame[3] = flag
        with pytest.raises(Untrusted):
            it.open(repaired(bytes(frame)), "k")


def test_a_codec_that_can_run_what_it_reads_never_sees_what_nobody_vouches_for() -> None:
    for protect in SEALED:
        it = frames(protect, authentic=True, migrate=True)
        with pytest.raises(Untrusted):
            it.open(sealed(frames(None)), "k")
        assert it.open(sealed(frames("sign")), "k").payload == PAYLOAD
    for wrong in ({"protect": None}, {"protect": "none"}, {"protect": "none", "migrate": True}):
        with pytest.raises(ConfigError):
            frames(authentic=True, **wrong)  # type: ignore[arg-type]  # options of the tests


def test_giving_protection_up_is_a_migration() -> None:
    with pytest.raises(ConfigError, match="migrate"):
        frames("none")
    it = frames("none", migrate=True)
    assert it.open(sealed(frames("encrypt")), "k").payload == PAYLOAD
    assert open_frame(sealed(it), namespace_seed("n"), "k").payload == PAYLOAD
    with pytest.raises(ConfigError, match="keys"):
        frames(None, migrate=True)


def bomb(size: int, *, tell: bool = True) -> bytes:
    """A few bytes that become `size`."""
    compressor = zstandard.ZstdCompressor(level=19, write_content_size=tell)
    return compressor.compress(b"\0" * size) if tell else compressor.compressobj().compress(b"\0" * size)


def compressed(body: bytes) -> bytes:
    return assembled(head_of(COMPRESSED, 1, VERSION, EXPIRES, EXPIRES), namespace_seed("n"), "k", body)


@pytest.mark.parametrize("compress_above", [None, 0])
def test_decompression_is_limited_before_it_begins(compress_above: int | None) -> None:
    it = frames(None, compress_above=compress_above, max_size=10_000)
    assert it.open(compressed(bomb(10_000)), "k").payload == b"\0" * 10_000
    with pytest.raises(TooLarge, match="decompress to 10001"):
        it.open(compressed(bomb(10_001)), "k")
    with pytest.raises(TooLarge, match="100000000"):
        it.open(compressed(bomb(100_000_000)), "k")
    lying = bomb(5_000).replace((5_000 - 256).to_bytes(2, "little"), (4_000 - 256).to_bytes(2, "little"))
    assert zstandard.frame_content_size(lying) == 4_000
    for wrong in (bomb(5_000, tell=False), bomb(5_000)[:-1], bomb(5_000) + b"x", b"", b"x" * 50, lying):
        with pytest.raises(Corrupt):
            it.open(compressed(wrong), "k")


def test_a_frame_larger_than_the_limit_is_not_looked_at() -> None:
    with pytest.raises(TooLarge, match="max_value_bytes"):
        frames(None, max_size=100).open(sealed(frames(None), payload=b"x" * 1000), "k")
    with pytest.raises(TooLarge):
        frames("encrypt", max_size=100).open(b"x" * 1000, "k")


def test_what_does_not_get_shorter_stays_as_it_is() -> None:
    it = frames(None, compress_above=100)
    for payload in (bytes(range(256)), b"a" * 100):
        assert not it.open(sealed(it, payload=payload), "k").flags & COMPRESSED
    assert it.open(sealed(it, payload=b"a" * 101), "k").flags & COMPRESSED


def test_a_record_that_learns_versions_late_gets_them_sealed_again() -> None:
    for protect in WAYS:
        it: Frames = frames(protect, compress_above=0)
        without = it.draft("k", PAYLOAD, 1, EXPIRES).seal(0)
        stamped = it.stamp("k", without, 9)
        assert it.open(stamped, "k")[1:] == (1, 9, EXPIRES, EXPIRES, PAYLOAD)
        assert it.stamp("k", stamped[:-1], 9) == stamped[:-1]
        if protect:  # rekey must see with which key the stored one was made
            old = frames(protect, keys={"k1": KEYS["k1"]}).draft("k", PAYLOAD, 1, EXPIRES).seal(0)
            assert not it.is_current(it.stamp("k", old, 9)) and it.open(it.stamp("k", old, 9), "k").version == 9
        if protect:
            with pytest.raises(Untrusted, match="no version"):
                it.open(without, "k")
            assert it.stamp("other", without, 9) == without
