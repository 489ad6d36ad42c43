"""Flipped bits, truncation, foreign files, links: a miss or a typed error, never a wrong value (faults 7 and 25)."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.strace import program
from tests.waiting import LIMIT, eventually
from tiered import FileTier, RedisTier, TieredBackend
from tiered.errors import ConfigError, NotApplied, Reason, StoreError, StoreUnavailable, TieredError
from tiered.tiers.sqlite import connect

pytestmark = pytest.mark.faults

FLIPS = 200
VALUES = {f"k{n}": [n, "x" * (40 * n)] for n in range(40)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database that holds VALUES."""
    directory = tmp_path_factory.mktemp("whole")
    with TieredBackend([FileTier(directory)]) as store:
        store.set_many(VALUES)
    return (directory / "tiered.sqlite3").read_bytes()


def look(directory: Path) -> tuple[int, int, int]:
    """Read, list and write a damaged store: how many reads were right, missed, refused."""
    right = missed = refused = 0
    try:
        store = TieredBackend([FileTier(directory)])
    except ConfigError:
        return 0, 0, len(VALUES)
    with store:
        for key, value in VALUES.items():
            try:
                found = store.get(key)
                assert found in (value, None)
                right, missed = right + (found == value), missed + (found is None)
            except StoreError:
                refused += 1
        for act in (lambda: check(store), lambda: store.set("new", 1), lambda: store.clear()):
            refused += not attempt(act)
    return right, missed, refused


def check(store: TieredBackend) -> None:
    for key, value in store.items():
        assert value == VALUES[key]


def attempt(act: Callable[[], object]) -> bool:
    try:
        act()
    except TieredError:
        return False
    return True


def test_no_poison_from_a_flipped_bit(whole: bytes, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    outcomes = []
    for n in range(FLIPS):
        damaged, at = bytearray(whole), rng.randrange(len(whole))
        damaged[at] ^= 1 << rng.randrange(8)
        directory = tmp_path / str(n)
        directory.mkdir()
        (directory / "tiered.sqlite3").write_bytes(damaged)
        try:
            outcomes.append(look(directory))
        except BaseException:
            print("at byte", at, "of", len(whole), bin(damaged[at] ^ whole[at]))
            raise
        shutil.rmtree(directory)
    assert any(refused for _, _, refused in outcomes) and any(right for right, _, _ in outcomes)


def test_an_entry_without_a_frame_is_an_error_of_a_listing(tmp_path: Path) -> None:
    """A flipped bit makes NULL of a frame, whatever the table forbids."""
    with TieredBackend([FileTier(tmp_path / "store")]) as store:
        store.set("k", 1)
        for statement in (
            "UPDATE sqlite_master SET sql = replace(sql, 'frame BLOB NOT NULL', 'frame BLOB') WHERE name = 'entries'",
            "PRAGMA writable_schema=RESET",
            "UPDATE entries SET frame = NULL",
        ):
            with closing(connect(tmp_path / "store" / "tiered.sqlite3")) as connection:
                connection.execute("PRAGMA writable_schema=ON")
                connection.execute(statement)
        with pytest.raises(StoreUnavailable, match="no frame"):
            list(store.items())


def test_no_poison_from_a_truncated_file(whole: bytes, tmp_path: Path) -> None:
    for size in {*range(0, len(whole), 4096), *range(100, len(whole), 5000)}:
        directory = tmp_path / str(size)
        directory.mkdir()
        (directory / "tiered.sqlite3").write_bytes(whole[:size])
        right, missed, refused = look(directory)
        assert missed + refused > 0 or right == len(VALUES)


@pytest.mark.parametrize("foreign", [b"\x89PNG\r\n\x1a\n" * 1000, b"PK\x03\x04" * 2000, b"{}", b"\0" * 9000])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, foreign: bytes) -> None:
    path = tmp_path / "tiered.sqlite3"
    path.write_bytes(foreign)
    with pytest.raises(ConfigError):
        FileTier(tmp_path)
    assert path.read_bytes() == foreign


def test_no_poison_from_a_damaged_log(tmp_path: Path) -> None:
    """What a killed process left in the log of SQLite: a damaged part of it ends it, and what is read was once written."""
    store = tmp_path / "store"
    with subprocess.Popen(program("count", str(store)), stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(30):
            last = int(writer.stdout.readline())
        writer.kill()
    log = (store / "tiered.sqlite3-wal").read_bytes()
    assert last >= 30 and len(log) > 10_000
    for at in range(0, len(log), len(log) // 40):
        copy = tmp_path / "copy"
        shutil.copytree(store, copy)
        (copy / "tiered.sqlite3-shm").unlink()
        (copy / "tiered.sqlite3-wal").write_bytes(log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :])
        try:
            with TieredBackend([FileTier(copy)]) as damaged:
                n = damaged.get("n")
                assert n is None or damaged.get(f"k{n % 7}") == n  # whole batches only
        except (StoreError, ConfigError):
            pass
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["lock", "tiered.sqlite3", "tiered.sqlite3-wal", "tiered.sqlite3-shm"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, name: str, existing: bool) -> None:
    """Refused; or, beside a database that is still empty, removed by SQLite, which wants no log there."""
    outside, directory = tmp_path / "outside", tmp_path / "store"
    outside.write_bytes(b"theirs")
    if existing:
        with TieredBackend([FileTier(directory)]) as store:
            store.set("k", "v")
        (directory / name).unlink(missing_ok=True)
    directory.mkdir(exist_ok=True)
    (directory / name).symlink_to(outside)
    try:
        with TieredBackend([FileTier(directory)]) as store:
            store.set("k", "v")
    except (ConfigError, StoreError):
        pass
    else:
        assert not (directory / name).is_symlink()
    assert outside.read_bytes() == b"theirs"


def test_a_link_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        FileTier(tmp_path / "link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "tiered.sqlite3")) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "tiered.sqlite3").read_bytes()
    with pytest.raises(ConfigError, match="another program"):
        FileTier(tmp_path)
    assert (tmp_path / "tiered.sqlite3").read_bytes() == before


@pytest.mark.parametrize("again", [False, True])
def test_honest_failure_of_writes_to_a_directory_that_was_removed_in_use(tmp_path: Path, again: bool) -> None:
    """The file lives on without a name, and takes writes that nobody would find again."""
    directory = tmp_path / "store"
    with TieredBackend([FileTier(directory)]) as store:
        store.set("k", "v")
        directory.rename(tmp_path / "moved away")
        if again:
            with TieredBackend([FileTier(directory)]) as other:  # as a process that starts later
                assert other.get("k") is None
        with pytest.raises(NotApplied, match="removed or replaced") as caught:
            store.set("k", "lost")
        assert caught.value.reason is Reason.MISUSE
        assert not store.health()["file"]["ok"]
        shutil.rmtree(directory, ignore_errors=True)
        (tmp_path / "moved away").rename(directory)
        store.set("k", "kept")
    with TieredBackend([FileTier(directory)]) as store:
        assert store.get("k") == "kept"


HARMS = [
    *("UPDATE namespaces SET generation = 'x'", "UPDATE namespaces SET generation = 9223372036854775807"),
    *(
        "INSERT INTO pending VALUES ('redis', x'ff', 'k', 5, 1)",
        "INSERT INTO pending VALUES ('redis', 'n', 'k', 'x', 1)",
    ),
]


@pytest.mark.parametrize("harm", HARMS)
def test_no_poison_from_what_caches_are_owed_and_the_generations(redis_url: str, tmp_path: Path, harm: str) -> None:
    """A flipped bit makes a text or bytes of a number, whatever the table says of its type."""
    tiers = [RedisTier(redis_url, prefix=str(tmp_path), timeout=5.0), FileTier(tmp_path)]
    with TieredBackend(tiers) as store:
        store.set("k", 1)
    with closing(connect(tmp_path / "tiered.sqlite3")) as connection:
        connection.execute(harm)
    tiers = [RedisTier(redis_url, prefix=str(tmp_path), timeout=5.0), FileTier(tmp_path)]
    with TieredBackend(tiers) as store:
        for act in (lambda: store.get("k"), lambda: store.get_many(["k", "x"]), lambda: store.set("k", 2), store.clear):
            with pytest.raises((StoreUnavailable, NotApplied), match="damaged: restore a backup"):
                act()


INTENTS = [
    *("INSERT INTO intents VALUES (1, -1, 'default', x'ff')", "INSERT INTO intents VALUES (1, -1, x'ff', 'k')"),
    "INSERT INTO marks (tier, namespace, key, version, generation) VALUES ('redis', 'default', 'k', 'x', 1)",
]


@pytest.mark.parametrize("harm", INTENTS)
def test_no_poison_from_a_journal_and_what_to_do_about_it(redis_url: str, tmp_path: Path, harm: str) -> None:
    def opened() -> TieredBackend:
        tiers = [RedisTier(redis_url, name=name, prefix=str(tmp_path), timeout=5.0) for name in ("redis", "record")]
        return TieredBackend(tiers, journal=tmp_path / "journal")

    with opened() as store:
        store.set("k", 1)
    with closing(connect(tmp_path / "journal/tiered.sqlite3")) as connection:
        connection.execute(harm)
    remedy = "damaged: stop what uses this journal, and remove its directory"
    with opened() as store:
        for act in (lambda: store.get("k"), lambda: store.set("k", 2)):
            with pytest.raises((StoreUnavailable, NotApplied), match=remedy):
                act()
    (tmp_path / "journal/tiered.sqlite3").write_bytes(b"\1" * 9000)
    with pytest.raises(ConfigError, match="stop what uses this journal"):
        opened()
    shutil.rmtree(tmp_path / "journal")
    with opened() as store:
        assert store.get("k") == 1
        store.set("k", 2)
        assert store.get("k") == 2 and store.verify().converged


def test_no_stale_return_from_a_directory_that_was_replaced_in_use(tmp_path: Path) -> None:
    """What was opened lives on without a name: others write to what is at the path now."""
    directory = tmp_path / "store"
    with TieredBackend([FileTier(directory)]) as store:
        store.set("k", "v1")
        assert store.get("k") == "v1"
        directory.rename(tmp_path / "moved away")
        shutil.copytree(tmp_path / "moved away", directory)
        with TieredBackend([FileTier(directory)]) as other:
            other.set("k", "v2")
            eventually(lambda: _refused(store))
            for look in (store.lookup, lambda _: list(store.items()), lambda key: store.get_many([key, "other"])):
                with pytest.raises(StoreUnavailable, match="removed or replaced") as caught:
                    look("k")
            assert caught.value.reason is Reason.MISUSE
        shutil.rmtree(directory)
        (tmp_path / "moved away").rename(directory)
        assert store.get("k") == "v1"


SECOND_SQLITE = """
import os, sqlite3, sys
from tiered import NotApplied, StoreUnavailable, TieredBackend

store = TieredBackend.from_url(f"file:{sys.argv[1]}")
store.set("before", 1)
connection = sqlite3.connect(os.path.join(sys.argv[1], "tiered.sqlite3"))
assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
connection.close()
for call in (lambda: store.set("after", 1), lambda: store.increment("after"), store.clear):
    try:
        call()
    except NotApplied as error:
        assert error.reason == "misuse" and "the log of" in str(error) and "second SQLite" in str(error), error
    else:
        os.write(1, b"acknowledged ")
try:
    store.get("before")
except StoreUnavailable as error:
    assert "second SQLite" in str(error), error
else:
    os.write(1, b"read")
assert "second SQLite" in store.health()["file"]["detail"]
store.close()
os.kill(os.getpid(), 9)
"""


def test_honest_failure_of_writes_to_a_log_that_a_second_sqlite_in_the_process_removed(tmp_path: Path) -> None:
    """It takes itself for the last user when it closes the file; what goes to the log without a name is lost in a kill."""
    program = [sys.executable, "-W", "error", "-c", SECOND_SQLITE, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == -signal.SIGKILL and not done.stdout, (done.stdout, done.stderr)
    with TieredBackend([FileTier(tmp_path)]) as store:
        assert store.get("before") == 1 and "after" not in store
        store.set("after", 2)
        assert store.verify().converged


def _refused(store: TieredBackend) -> bool:
    try:
        store.get("k")
    except StoreUnavailable:
        return True
    return False


def test_a_read_makes_no_database_where_one_was_removed(tmp_path: Path) -> None:
    with closing(FileTier(tmp_path)) as tier:
        tier.read("n", "k")
        for path in tmp_path.glob("tiered.sqlite3*"):
            path.unlink()
        with pytest.raises(StoreUnavailable, match="removed or replaced"), tier._readers.lend():
            pass
        assert not (tmp_path / "tiered.sqlite3").exists()


def test_honest_failure_without_the_journal_that_was_removed_in_use(tmp_path: Path, redis_url: str) -> None:
    tiers = [RedisTier(redis_url, timeout=5.0), RedisTier(redis_url, name="record", timeout=5.0)]
    with TieredBackend(tiers, journal=tmp_path / "journal") as store:
        store.set("k", "v")
        (tmp_path / "journal").rename(tmp_path / "moved away")
        with pytest.raises(NotApplied, match="removed or replaced"):
            store.set("k", "unannounced")
        assert store.get("k") == "v"
        (tmp_path / "moved away").rename(tmp_path / "journal")
        store.set("k", "announced")
        assert store.get("k") == "announced"
