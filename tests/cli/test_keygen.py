"""`tiered keygen`: a key file that can be used as it is made."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.cli.running import tiered
from tests.waiting import LIMIT
from tiered import ConfigError
from tiered.codecs.keys import append_key, new_key, parse


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_key_file_that_was_made_can_be_used_and_grows_at_its_end(tmp_path: Path) -> None:
    keys, url = tmp_path / "keys", f"memory://,file:{tmp_path}/data"
    made = tiered("keygen", "may", "--out", str(keys))
    assert made.returncode == 0 and made.stdout == "" and made.stderr == ""
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert tiered("set", "k", "v", url=url, TIERED_KEYS=f"file:{keys}").returncode == 0
    keys.write_text(keys.read_text().rstrip() + "  # of last year")
    assert tiered("keygen", "june", "--out", str(keys)).returncode == 0
    assert list(parse(keys.read_text())) == ["may", "june"] and keys.read_text().endswith("\n")
    assert tiered("get", "k", url=url, TIERED_KEYS=f"file:{keys}").stdout == "v\n"


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (new_key("may"), 0o644, "chmod 600"),
        (new_key("june"), 0o600, "the id june is there twice"),
        ("no keys\n", 0o600, "no id:base64"),
        ("\xff", 0o600, "no UTF-8"),
        (None, 0o700, "Is a directory"),
    ],
    ids=["others may read it", "the id is there", "no keys", "no text", "a directory"],
)
def test_a_file_that_would_be_refused_is_left_as_it_is(tmp_path: Path, text: str | None, mode: int, says: str) -> None:
    path = tmp_path / "keys"
    path.mkdir() if text is None else path.write_bytes(text.encode("latin-1"))
    path.chmod(mode)
    result = tiered("keygen", "june", "--out", str(path))
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr
    assert text is None or path.read_bytes() == text.encode("latin-1")


def test_a_key_that_has_no_room_is_not_written_by_halves(tmp_path: Path) -> None:
    """Half a key made a file that every process refused, the bot that was started anew as well."""
    path = tmp_path / "keys"
    before = f"{new_key('may')}\n# {'x' * 940}\n"
    path.write_text(before)
    path.chmod(0o600)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
    try:
        with pytest.raises(ConfigError, match=r"cannot write .*File too large"):
            append_key(path, new_key("june"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_text() == before
    append_key(path, new_key("june"))
    assert list(parse(path.read_text())) == ["may", "june"]


def test_one_waits_for_another_and_sees_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    with ThreadPoolExecutor() as pool, open(path, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(append_key, path, new_key("june"))
        assert not wait([waiting], timeout=0.3).done
        print(new_key("june"), file=other, flush=True)
        fcntl.flock(other, fcntl.LOCK_UN)
        with pytest.raises(ConfigError, match="the id june is there twice"):
            waiting.result(LIMIT)
    assert list(parse(path.read_text())) == ["june"]
