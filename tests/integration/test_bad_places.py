"""Directories where no store can live: a `ConfigError` that says what to do, and what was there is left as it was."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.file_tier import connection
from tiered import ConfigError, FileTier, MemoryTier, NotApplied, TieredBackend
from tiered.codecs.keys import Keyring, new_key
from tiered.errors import Reason
from tiered.tiers.file_place import NETWORK_FILE_SYSTEMS, mounted
from tiered.tiers.sqlite import connect

Make = Callable[[Path], object]

NOBODY = 65_534


def foreign(directory: Path) -> None:
    directory.mkdir()
    with closing(connect(directory / "tiered.sqlite3")) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()


def newer(directory: Path) -> None:
    tier = FileTier(directory)
    connection(tier).execute("PRAGMA user_version=99")
    tier.close()


PLACES: dict[str, tuple[Make, str]] = {
    "a file": (lambda path: path.write_text("theirs"), "is not a directory; give FileTier a directory of its own"),
    "below a file": (lambda path: path.write_text("theirs"), "a part of the path is a file"),
    "a link": (lambda path: path.symlink_to("/elsewhere"), "is a symbolic link"),
    "links in a ring": (lambda path: path.symlink_to(path.name), "check the directory"),
    "another program's database": (foreign, "is another program's database; choose another directory"),
    "no database": (lambda path: put(path, b"theirs" * 1000), "the file is damaged or no database"),
    "a cut-off database": (lambda path: put(path, b"SQLite format 3\0" + b"\x10\0" * 20), "damaged|no database"),
    "a newer release's": (newer, "upgrade this one"),
    "a directory for the database": (lambda path: path.joinpath("tiered.sqlite3").mkdir(parents=True), "regular file"),
}
BELOW = ("below a file", "links in a ring")


def put(directory: Path, content: bytes) -> None:
    directory.mkdir()
    (directory / "tiered.sqlite3").write_bytes(content)


def tree(directory: Path) -> dict[str, bytes | str]:
    """Everything below `directory`. The file tier's lock file, which it may leave behind, is empty."""
    found: dict[str, bytes | str] = {}
    for path in (Path(at, name) for at, _, names in os.walk(directory) for name in names):
        if path.name != "lock":
            mode = path.lstat().st_mode
            found[str(path)] = path.read_bytes() if stat.S_ISREG(mode) else stat.filemode(mode)
    return found


def refuses(directory: Path, says: str) -> None:
    """However it is opened."""
    url = f"memory://,file:{directory}"
    for build in (FileTier, lambda _: TieredBackend.from_url(url), lambda _: TieredBackend.from_config({"url": url})):
        with pytest.raises(ConfigError, match=says) as caught:
            build(directory)  # type: ignore[operator]  # two kinds of callables
        assert str(caught.value).startswith("file: ")


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_hold_a_store_is_refused_and_left_as_it_was(tmp_path: Path, place: str) -> None:
    make, says = PLACES[place]
    directory = tmp_path / "data"
    make(directory)
    directory = directory / "below" if place in BELOW else directory
    before = tree(tmp_path)
    refuses(directory, says)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("path", ["~/data", "~", "~nobody-at-all/data"])
def test_a_home_directory_that_is_not_written_out_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="begins with ~, for which no home directory stands here"):
        TieredBackend.from_url(f"file:{path}") if "nobody" in path else FileTier(path)
    assert not list(tmp_path.glob("~*"))
    with TieredBackend.from_url("file:./~/data"):
        assert (tmp_path / "~" / "data").is_dir(), "one that is called so"


def test_a_second_name_of_the_database_is_refused_until_it_is_a_copy(tmp_path: Path) -> None:
    """As `cp -al` makes it: each name has a log of its own, and the pages of both go into one file."""
    with TieredBackend([FileTier(tmp_path / "data")]) as store:
        store.set("k", "v")
        (tmp_path / "link").mkdir()
        os.link(tmp_path / "data/tiered.sqlite3", tmp_path / "link/tiered.sqlite3")
        refuses(tmp_path / "link", "has a second name")
        store.set("k", "v2")
    refuses(tmp_path / "data", "has a second name")
    shutil.copy(tmp_path / "link/tiered.sqlite3", tmp_path / "copy")
    os.replace(tmp_path / "copy", tmp_path / "link/tiered.sqlite3")
    for name in ("data", "link"):
        with TieredBackend([FileTier(tmp_path / name)]) as store:
            assert store.get("k") == "v2"


def test_a_process_that_goes_elsewhere_keeps_what_it_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As daemons do, to /."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    Path("keys").write_text(new_key("k1"))
    Path("keys").chmod(0o600)
    ring = Keyring("file:keys")
    tier = FileTier("./data")
    with TieredBackend([tier], keys=ring) as store:
        store.set("k", "v")
        monkeypatch.chdir(elsewhere)
        store.set("k", "v2")
        tier._readers._close_idle()  # it opens others
        assert store.get("k") == "v2" and store.health()["file"]["ok"]
        assert store.get_or_set("loaded", lambda: "v") == "v"
        store.backup("../here/backup")
        Path(here / "keys").write_text(new_key("k2"))
        ring.reload()
        assert ring.ids == ["k2"]
    assert not list(elsewhere.iterdir())


def test_a_relative_place_of_a_process_whose_directory_was_removed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    before = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
        refuses(Path("data"), "is relative, and the directory that this process is in was removed")
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_backup_to_a_directory_is_refused_as_that(tmp_path: Path) -> None:
    with TieredBackend.from_url(f"file:{tmp_path}/data") as store:
        for place in (tmp_path, Path("."), tmp_path / "data"):
            with pytest.raises(ConfigError, match="is a directory; give the path of a file"):
                store.backup(place)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_backup_replaces_no_device_pipe_or_link(tmp_path: Path) -> None:
    """As root it took /dev/null away from the whole machine."""
    pipe, link, device = tmp_path / "pipe", tmp_path / "link", tmp_path / "device"
    os.mkfifo(pipe)
    link.symlink_to("elsewhere")
    device.symlink_to("/dev/stdout")
    with TieredBackend.from_url(f"file:{tmp_path}/data") as store:
        for place in (pipe, link, device):
            with pytest.raises(ConfigError, match="is no regular file, which a backup would replace; give the path of"):
                store.backup(place)
    assert pipe.is_fifo() and link.is_symlink() and device.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "device", "link", "pipe"]


def test_a_backup_replaces_nothing_that_a_store_has_in_its_directory(tmp_path: Path) -> None:
    """Without its lock, a store in use could be put back to a backup."""
    data = tmp_path / "data"
    with TieredBackend.from_url(f"file:{data}") as store, TieredBackend.from_url(f"file:{tmp_path}/other"):
        store.set("k", 1)
        (data / "replay-0.lock").touch()
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
        for place in (data / "lock", data / "replay-0.lock", data / "tiered.sqlite3-wal", tmp_path / "other/lock"):
            with pytest.raises(ConfigError, match="belongs to a store; back up to another path"):
                store.backup(place)
        assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before
        for _ in range(2):
            store.backup(data / "backup")


def test_a_directory_that_one_store_has_for_itself_is_refused_to_all_others(tmp_path: Path) -> None:
    with TieredBackend.from_url(f"file:{tmp_path}/data", shared=False) as store:
        store.set("k", 1)
        refuses(tmp_path / "data", "in use")
        assert store.get("k") == 1


# Read-only and full, on real mounts where this user may mount, else as close to them as it gets.


@contextmanager
def mounted_at(*command: str, where: Path) -> Iterator[bool]:
    """A mount, or False where this user may not."""
    done = subprocess.run(["mount", *command, str(where)], capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(where)], check=True)


@contextmanager
def unprivileged() -> Iterator[None]:
    """The superuser, whom no mode stops, is somebody else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("there", [True, False], ids=["a store", "no store"])
def test_a_directory_without_permission_to_write_is_refused(there: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        parent, directory = Path(name), Path(name, "data")
        if there:
            FileTier(directory).close()
            directory.joinpath("tiered.sqlite3").chmod(0o444)
            directory.chmod(0o555)
        parent.chmod(0o555)
        try:
            with unprivileged():
                refuses(
                    directory, "run it as its owner root" if there and os.geteuid() == NOBODY else "check its owner"
                )
        finally:
            parent.chmod(0o755)
            if there:
                directory.chmod(0o755)


@pytest.mark.parametrize("there", ["a store", "below it"])
def test_a_directory_that_this_user_may_not_enter_is_refused_with_whose_it_is(there: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        parent, directory = Path(name), Path(name, "data")
        FileTier(directory).close()
        parent.chmod(0o755)
        directory.chmod(0o700 if os.geteuid() == 0 else 0)
        says = "run it as its owner root" if os.geteuid() == 0 else "check its owner and mode"
        try:
            with unprivileged():
                refuses(directory if there == "a store" else directory / "below", f"Permission denied; {says}")
        finally:
            directory.chmod(0o700)


def test_a_file_system_that_is_mounted_read_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FileTier(tmp_path / "data").close()
    with ExitStack() as later:
        real = later.enter_context(mounted_at("--bind", str(tmp_path), where=tmp_path))
        if real:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        else:
            flags = os.statvfs(tmp_path).f_flag | os.ST_RDONLY
            monkeypatch.setattr(os, "statvfs", lambda _: type("Told", (), {"f_flag": flags}))
        before = tree(tmp_path)
        refuses(tmp_path / "data", "mount it read-write, or choose another directory")
        if real:
            refuses(tmp_path / "new", "mount it read-write, or choose another directory")
        assert tree(tmp_path) == before


def test_a_full_disk_refuses_writes_and_goes_on_reading(tmp_path: Path) -> None:
    with mounted_at("-t", "tmpfs", "-o", "size=1m", "tiered-test", where=tmp_path) as real:
        file = FileTier(tmp_path / "data")
        if not real:
            (pages,) = connection(file).execute("PRAGMA page_count").fetchone()
            connection(file).execute(f"PRAGMA max_page_count={pages + 100}")
        with TieredBackend([MemoryTier(), file]) as store:
            kept = {f"k{n}": "x" * 50_000 for n in range(3)}
            store.set_many(kept)
            for write in (
                lambda: store.set("k0", "y" * 1_000_000),
                lambda: store.set_many({"a": 1, "big": "y" * 1_000_000}),
                lambda: store.add("big", "y" * 1_000_000),
                lambda: store.update("k0", lambda value: value * 20),
                lambda: store.get_or_set("big", lambda: "y" * 1_000_000),
            ):
                with pytest.raises(NotApplied, match="free some space") as caught:
                    write()
                assert caught.value.reason is Reason.FULL and caught.value.tier == "file"
                assert store.get_many([*kept, "a", "big"]) == kept == dict(store.items())
            if not real:
                connection(file).execute("PRAGMA max_page_count=100000")
            else:
                subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path)], check=True)
            assert store.set("big", "y" * 1_000_000).tiers["file"] == "ok"
            if real:  # and a disk without room for a new store
                filler = tmp_path / "filler"
                with filler.open("wb", buffering=0) as filling, pytest.raises(OSError, match="No space"):
                    while True:
                        filling.write(b"x" * 4096)
                refuses(tmp_path / "other", "free some space")


# Network file systems: none can be mounted for a test, so real lines of mountinfo stand in.

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
MOUNTS = {
    "nfs4": "201 22 0:51 / /srv rw,relatime shared:98 - nfs4 nas:/export rw,vers=4.2,hard,proto=tcp,addr=10.0.0.2",
    "nfs": "201 22 0:51 / /srv rw,relatime - nfs nas:/export rw,vers=3,hard,nolock,proto=udp",
    "cifs": "310 22 0:60 / /srv rw,nosuid - cifs //nas/share rw,vers=3.1.1,cache=strict,username=bot",
    "smb3": "310 22 0:60 / /srv rw - smb3 //nas/share rw,vers=3.1.1",
    "fuse.sshfs": "402 22 0:71 / /srv rw,nosuid,nodev,relatime shared:230 - fuse.sshfs bot@host:/srv rw,user_id=1000",
    "9p": "98 22 0:43 / /srv rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\\134,mmap,access=client,msize=65536",
    "ceph": "77 22 0:40 / /srv rw,relatime - ceph 10.0.0.3:6789:/ rw,name=bot,secret=<hidden>,acl",
    "fuse.glusterfs": "88 22 0:44 / /srv rw,relatime - fuse.glusterfs gl1:/vol rw,user_id=0,default_permissions",
    "lustre": "90 22 0:45 / /srv rw - lustre 10.0.0.4@tcp:/fs rw,flock",
    "fuse.s3fs": "91 22 0:46 / /srv rw,nosuid,nodev - fuse.s3fs s3fs rw,user_id=0,allow_other",
    "fuse.rclone": "92 22 0:47 / /srv rw,nosuid,nodev - fuse.rclone remote: rw,user_id=1000",
    "vboxsf": "93 22 0:48 / /srv rw,nodev - vboxsf shared rw,uid=0,gid=999",
}
LOCAL = {
    "overlay": "300 22 0:55 / /srv rw,relatime - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d",
    "ext4": "301 22 8:17 / /srv rw,relatime shared:9 master:4 - ext4 /dev/sdb1 rw,data=ordered",
    "xfs": "302 22 8:18 / /srv rw - xfs /dev/sdc1 rw,attr2,inode64",
    "btrfs": "303 22 0:33 /@home /srv rw,relatime - btrfs /dev/sdd rw,space_cache=v2,subvol=/@home",
    "zfs": "304 22 0:34 / /srv rw,xattr - zfs tank/home rw,xattr,posixacl",
    "tmpfs": "305 22 0:35 / /srv rw,nosuid - tmpfs tmpfs rw,size=65536k",
    "fuseblk": "306 22 8:33 / /srv rw,nosuid,nodev - fuseblk /dev/sde1 rw,user_id=0,blksize=4096",
}


@pytest.mark.parametrize("kind", [*MOUNTS, *LOCAL])
def test_network_file_systems_are_told_from_local_ones(kind: str) -> None:
    lines = ROOT + {**MOUNTS, **LOCAL}[kind] + "\n"
    for path in ("/srv", "/srv/bot/data"):
        assert mounted(lines, path) == kind
    assert mounted(lines, "/srv2") == mounted(lines, "/") == "ext4"
    assert kind.startswith(NETWORK_FILE_SYSTEMS) == (kind in MOUNTS)


def test_a_directory_on_a_network_file_system_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = MOUNTS["nfs4"].replace("/srv", str(tmp_path).replace(" ", "\\040")) + "\n"
    told = Path.read_bytes
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: (ROOT + line).encode() if str(path) == "/proc/self/mountinfo" else told(path),
    )
    refuses(tmp_path / "bot" / "data", "is on nfs4, where SQLite's locks do not hold; use a local disk")
    assert list(tmp_path.iterdir()) == []
