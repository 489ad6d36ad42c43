"""Where a file tier may live: a directory of its own, on a local and writable disk, with no links to elsewhere."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
from contextlib import suppress
from pathlib import Path

from tiered.arguments import absolute, text_of
from tiered.errors import ConfigError

DATABASE = "tiered.sqlite3"
SQLITE = b"SQLite format 3\0"
"""How every database begins."""
RESTORED = "-restored"
"""How the name of a database ends that takes the place of the one whose name is before it: of that which is moved away."""
NETWORK_FILE_SYSTEMS = (
    *("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "afs", "lustre", "beegfs", "gpfs", "coda", "ncp", "vboxsf"),
    *("fuse.sshfs", "fuse.gluster", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.goofys"),
    *("fuse.juicefs", "fuse.davfs", "fuse.vmhgfs"),
)
"""How the types of those begin whose locks cannot be relied on. Shared directories of virtual machines are among them."""

_ADVICE = {
    errno.EROFS: "mount it read-write, or choose another directory",
    errno.EACCES: "check its owner and mode, or choose another directory",
    errno.EPERM: "check its owner, mode and attributes, or choose another directory",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.ENOTDIR: "a part of the path is a file; choose another directory",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def path_of(path: object, what: str) -> Path:
    """`path` as an absolute `Path`; `ConfigError` for what is none, saying `what` it would be."""
    try:
        text = text_of(os.fsdecode(path))  # type: ignore[arg-type]  # it raises for other types
    except TypeError:
        raise ConfigError(f"{what} must be a path, not {type(path).__name__}") from None
    if not text or "\0" in text:
        raise ConfigError(f"{what} must be a path that is not empty and has no NUL")
    if text.startswith("~"):
        raise ConfigError(f"{what} begins with ~, for which no home directory stands here; write it out, or ./{text}")
    return absolute(text, what)


def belongs_to_a_store(path: Path) -> bool:
    """Whether a file at `path` would replace one that a file tier has in its directory, and may be using: its database, a lock.

    A backup that is kept there is none of them: it is a database by another name.
    """
    if not (path.parent / "lock").exists():
        return False
    return path.name.startswith(DATABASE) or (path.is_file() and not _is_database(path))


def _is_database(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def begun_restore(directory: Path) -> Path | None:
    """The database that a restore was about to put in its place when it was interrupted."""
    return next(directory.glob(f"{DATABASE}.*{RESTORED}"), None)


def prepare(directory: Path, name: str) -> Path:
    """Make or check the directory; returns the database's path. Raises `ConfigError` before anything is opened."""
    try:
        _refuse_symlink(directory, name)
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{name}: {directory} is not a directory; give FileTier a directory of its own")
        kind = file_system(directory)
        if kind.startswith(NETWORK_FILE_SYSTEMS):
            raise ConfigError(f"{name}: {directory} is on {kind}, where SQLite's locks do not hold; use a local disk")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{name}: cannot make the directory {directory}: {explain(error, directory)}") from error
    path = directory / DATABASE
    try:
        _refuse_symlink(path, name)
        _create(path)
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{name}: {path} is not a regular file; move it away, or choose another directory")
    except OSError as error:
        raise ConfigError(f"{name}: cannot write {path}: {explain(error, directory)}") from error
    return path


def explain(error: OSError, directory: Path | None = None) -> str:
    """What went wrong, and what to do about it; whose `directory` is, where this user may not."""
    advice = _ADVICE.get(error.errno or 0, "check the directory and its mount")
    if directory is not None and error.errno in (errno.EACCES, errno.EPERM) and (owner := _other_owner(directory)):
        advice = f"run it as its owner {owner}, or choose another directory"
    return f"{error.strerror}; {advice}"


def _other_owner(directory: Path) -> str | None:
    """Who owns `directory`, or what above it cannot be entered; None where it is this user, or nothing is there."""
    for place in (directory.absolute(), *directory.absolute().parents):
        try:
            user = place.stat().st_uid
        except PermissionError:
            continue  # something above it keeps this user out
        except OSError:
            return None
        return None if user == os.geteuid() else _name_of(user)
    return None


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # of a container, whose users this system does not know
        return str(user)


def file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`, or will when it is made; empty where the system does not tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    return mounted(os.fsdecode(mounts), os.path.realpath(directory))  # resolve() gives up on a loop of links


def mounted(mountinfo: str, target: str) -> str:
    """The type of the file system that holds the path `target`, from the text of Linux' mountinfo."""
    best, kind = "", ""
    for line in mountinfo.split("\n"):
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        mount = _unescape(fields.split(" ")[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # of two mounts on one directory, the later covers the earlier
            best, kind = mount, _unescape(rest.split(" ")[0])
    return kind


def _unescape(field: str) -> str:
    """The kernel writes blanks, tabs, newlines, backslashes and # as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _create(path: Path) -> None:
    # Never open and close an existing database: that would drop every POSIX lock this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    code = 0
    if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        code = errno.EROFS
    elif not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        code = errno.EACCES
    if code:
        raise OSError(code, os.strerror(code))


def _refuse_symlink(path: Path, name: str) -> None:
    if path.is_symlink():
        raise ConfigError(f"{name}: {path} is a symbolic link, which could lead anywhere; give the real path")
