"""Keys: where they come from, how they change while a store is running, and that nobody gets to see one."""

from __future__ import annotations

import base64
import logging
import os
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.frames import KEYS, PAYLOAD, sealed
from tests.waiting import LIMIT, started
from tiered.codecs import seals
from tiered.codecs.frames import Frames
from tiered.codecs.keys import REFRESH, Keyring, keyring_of, new_key, parse
from tiered.codecs.rules import rules
from tiered.errors import ConfigError, Untrusted

SECRET = base64.b64encode(KEYS["k1"]).decode()
OTHER = base64.b64encode(KEYS["k2"]).decode()


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_KEYS", f"k2:{OTHER}, k1:{SECRET}")
    ring = keyring_of("env:BOT_KEYS")
    assert ring.ids == ["k2", "k1"] and ring.current.secret == KEYS["k2"]


def test_from_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# rotated in May\nk1:{SECRET}  # the old one\n\n")
    for mode in (0o644, 0o606, 0o620):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            Keyring(f"file:{path}")
    for mode in (0o600, 0o400, 0o440):
        path.chmod(mode)
        assert Keyring(f"file:{path}").current.secret == KEYS["k1"]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ConfigError, match="is no file"):
            Keyring(f"file:{place}")
    with pytest.raises(ConfigError, match="directory"):
        Keyring(f"file:{tmp_path}")


def test_from_a_mapping_and_from_a_callable() -> None:
    for source in (KEYS, lambda: KEYS, lambda: f"k2:{OTHER} k1:{SECRET}"):
        assert Keyring(source).ids == ["k2", "k1"]
    ring = Keyring(KEYS)
    assert keyring_of(ring) is ring


class Held(logging.Filter):
    """The first who logs stays there until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.there = threading.Event(), threading.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.there.is_set():
            self.there.set()
            self.go.wait()
        return True


@pytest.fixture
def changing() -> Iterator[tuple[Keyring, list[str]]]:
    """A ring of which another thread has read other keys, and logs that; and what it reads next."""
    source, held = [f"a:{SECRET}"], Held()
    ring = Keyring(lambda: source[0])
    logger = logging.getLogger("tiered.codecs.keys")
    level, source[0] = logger.level, f"b:{SECRET}"
    logger.setLevel(logging.INFO)
    logger.addFilter(held)
    other = started(ring.reload)
    assert held.there.wait(LIMIT)
    source[0] = f"c:{SECRET}"
    yield ring, source
    held.go.set()
    other.result(LIMIT)
    logger.removeFilter(held)
    logger.setLevel(level)
    assert ring.ids == ["c"] and ring.current.id == "c" and ring.epoch == 2


def test_nobody_waits_for_one_who_logs(changing: tuple[Keyring, list[str]]) -> None:
    ring, _ = changing
    started(ring.reload).result(LIMIT)
    assert ring.current.id == "c"


def test_a_child_that_was_forked_meanwhile_reads_keys_again(changing: tuple[Keyring, list[str]]) -> None:
    ring, _ = changing
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            started(ring.reload).result(LIMIT)
            code = 0 if ring.current.id == "c" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ring.reload()


def test_a_child_encrypts_with_a_key_of_its_own() -> None:
    seal = seals.Encryption(Keyring(KEYS))

    def salt() -> bytes:
        return seal.close(b"head", b"place", b"payload")[1 + len("k2") :][: seals.SALT]

    mine, (reader, writer) = salt(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, salt() + salt())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(reader, 1000)
    os.close(reader)
    os.close(writer)
    assert mine == salt() and len(theirs) == 2 * seals.SALT and theirs[: seals.SALT] == theirs[seals.SALT :] != mine


def test_a_new_key_is_a_line_of_a_file() -> None:
    first, second = new_key("a"), new_key("b")
    keys = parse(f"{first}\n{second}")
    assert list(keys) == ["a", "b"] and {len(it) for it in keys.values()} == {32} and keys["a"] != keys["b"]
    with pytest.raises(ConfigError):
        new_key("not an id")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "hunter2",
        "env:",
        "file:",
        "env:TIERED_TEST_NOT_SET",
        "file:/nowhere/at/all",
        7,
        {},
        {"k": b"hunter2"},
        {"k": b"hunter2" * 32},
        {"k": "x" * 32},
        {"no id": bytes(32)},
        {f"k{n}": bytes(32) for n in range(65)},
        lambda: "",
        lambda: "hunter2",
        lambda: f"hunter2:{SECRET}x",
        lambda: f"k1:{SECRET[:-4]}",
        lambda: f"k1:{SECRET} k1:{SECRET}",
        lambda: f"k1:{SECRET[:-1]}\N{LATIN SMALL LETTER E WITH ACUTE}",
        lambda: "#" * 100_000,
        lambda: {"k": SECRET},
        lambda: None,
        lambda: 1 / 0,
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(source: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring(source)
    text = str(caught.value)
    assert (
        text.startswith("keys: ") and SECRET[:20] not in text and "hunter2" not in text.replace("the key hunter2", "")
    )


def test_what_a_key_service_says_is_not_shown_in_a_traceback() -> None:
    def refuses() -> str:
        raise PermissionError(f"no, {SECRET}")

    with pytest.raises(ConfigError, match="failed with PermissionError") as caught:
        Keyring(refuses)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    ring = Keyring(lambda: f"k1:{SECRET}")
    for shown in (
        repr(ring),
        str(ring),
        repr(ring.current),
        str(ring.current),
        f"{ring.current}",
        repr([ring.current]),
    ):
        assert "k1" in shown and SECRET[:10] not in shown and repr(KEYS["k1"])[2:12] not in shown


def store(source: Any, clock: Clock, protect: str = "encrypt") -> tuple[Frames, Keyring]:
    ring = Keyring(source, clock=clock)
    return Frames(
        "n", rules(compress_above=None, max_size=2**20, keys=ring, protect=protect, migrate=False, authentic=False)
    ), ring


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
def test_a_key_is_rotated_while_a_store_is_running(protect: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    keys: dict[str, bytes] = {"k1": KEYS["k1"]}
    clock = Clock()
    it, ring = store(lambda: dict(keys), clock, protect)
    old = sealed(it)
    keys = KEYS
    assert b"\x02k1" in sealed(it)
    clock.time += REFRESH + 1
    new = sealed(it)
    assert b"\x02k2" in new and it.is_current(new) and not it.is_current(old) and ring.epoch == 1
    assert it.open(old, "k").payload == it.open(new, "k").payload == PAYLOAD
    keys = {"k2": KEYS["k2"]}
    clock.time += REFRESH + 1
    sealed(it)
    assert it.open(new, "k").payload == PAYLOAD
    with pytest.raises(Untrusted, match="'k1'"):
        it.open(old, "k")
    assert "writing with k2" in caplog.text


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
def test_who_only_reads_forgets_a_key_that_was_taken_away(protect: str) -> None:
    keys, clock = KEYS, Clock()
    it, ring = store(lambda: dict(keys), clock, protect)
    old = sealed(store({"k1": KEYS["k1"]}, clock, protect)[0])
    assert it.open(old, "k").payload == PAYLOAD
    keys = {"k2": KEYS["k2"]}
    clock.time += REFRESH + 1
    with pytest.raises(Untrusted, match="'k1'"):
        it.open(old, "k")
    assert ring.ids == ["k2"]


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
def test_a_key_that_others_write_with_already_is_looked_for_at_once(protect: str) -> None:
    keys: dict[str, bytes] = {"k1": KEYS["k1"]}
    clock, looks = Clock(), [0]

    def source() -> Mapping[str, bytes]:
        looks[0] += 1
        return dict(keys)

    it, _ = store(source, clock, protect)
    keys = KEYS
    clock.time += 2
    assert it.open(sealed(store(KEYS, clock, protect)[0]), "k").payload == PAYLOAD
    foreign = sealed(store({"k3": bytes(32)}, clock, protect)[0])
    clock.time += 2
    before = looks[0]
    for _ in range(50):
        with pytest.raises(Untrusted):
            it.open(foreign, "k")
    assert looks[0] == before + 1, "hostile ids must not make it read the source all the time"


def test_a_source_that_fails_later_leaves_the_keys_in_use(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    path, clock = tmp_path / "keys", Clock()
    path.write_text(f"k1:{SECRET}")
    path.chmod(0o600)
    it, ring = store(f"file:{path}", clock)
    path.rename(tmp_path / "away")
    for _ in range(3):
        clock.time += REFRESH + 1
        assert it.open(sealed(it), "k").payload == PAYLOAD
    assert caplog.text.count("could not be read again") == 1 and ring.ids == ["k1"]
    (tmp_path / "away").rename(path)
    clock.time += REFRESH + 1
    sealed(it)
    assert "can be read again" in caplog.text and SECRET not in caplog.text


def test_a_key_is_never_used_for_too_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "MOST_USES", 3)
    it, _ = store(KEYS, Clock())
    salts = [sealed(it)[36:52] for _ in range(9)]
    assert [salts.count(salt) for salt in dict.fromkeys(salts)] == [3, 3, 3]


def test_forgeries_do_not_fill_the_table_of_derived_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "MOST_SUBKEYS", 2)
    clock = Clock()
    it, _ = store(KEYS, clock)
    encryption = it._rules.writes
    assert isinstance(encryption, seals.Encryption)
    real = [sealed(store(KEYS, clock)[0]) for _ in range(5)]
    for frame in real:
        assert it.open(frame, "k").payload == PAYLOAD
        assert len(encryption._subkeys) <= 2
    for _ in range(2):
        assert all(it.open(frame, "k").payload == PAYLOAD for frame in real)
    known = dict(encryption._subkeys)
    for n in range(20):
        with pytest.raises(Untrusted):
            encryption.open(b"", b"", b"\x02k2" + bytes([n]) * 60)
    assert encryption._subkeys == known
