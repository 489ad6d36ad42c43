"""`tiered migrate`: resumable, verified, and the source stays as it is. The real Will's part is in tests/will."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import free_port
from tests.terminals import on_a_terminal
from tests.waiting import eventually
from tiered import StoreUnavailable, TieredBackend
from tiered.integrations.will.file_source import FileSource
from tiered.integrations.will.keys import stored_name
from tiered.integrations.will.migration import Migration, Outcome


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What Will's File backend leaves: values, times, its own mark, and what goes wrong."""
    directory = tmp_path / "settings"
    directory.mkdir()
    now = int(time.time())
    for name, content in {
        ".will_settings": "",
        "list": "0f/bGlzdA==\n",
        "soon": "0f/c29vbg==\n",
        ".soon.expires": str(now + 3600),
        "over": "0f/b3Zlcg==\n",
        ".over.expires": str(now - 10),
        "torn": "",
        ".gone.expires": str(now),
        ".z.expires": "0f/YSBrZXk=\n",
        "z": "0f/eg==\n",
        "k" * 250: "0f/bG9uZw==\n",
    }.items():
        (directory / name).write_text(content)
    (directory / "a directory").mkdir()
    (directory / "a directory" / "not Will's").write_text("x")
    return directory


@pytest.fixture
def wills(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url.replace("/0", "/7")) as client:
        yield client


def command(*args: str, columns: int = 80) -> tuple[list[str], dict[str, str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIERED_")}
    return [sys.executable, "-m", "tiered.cli", "migrate", *args], {**env, "COLUMNS": str(columns)}


def migrate(*args: str) -> subprocess.CompletedProcess[str]:
    line, env = command(*args)
    return subprocess.run(line, capture_output=True, text=True, env=env)


def content(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {it.name: (it.read_bytes(), it.stat().st_mtime_ns) for it in directory.iterdir() if it.is_file()}


def test_a_directory_is_copied_verified_and_left_as_it_was(directory: Path, tmp_path: Path) -> None:
    url, before = f"file:{tmp_path}/data", content(directory)
    dry = json.loads(migrate("will-file", str(directory), "--url", url, "--dry-run", "--json").stdout)
    assert dry["copied"] == 5 and dry["verified"] == 0 and dry["dry_run"] is True
    done = migrate("will-file", str(directory), "--url", url, "--json")
    outcome = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert outcome["copied"] == 5 and outcome["verified"] == 5 and outcome["expired"] == 1 and outcome["complete"]
    assert outcome["left_out"] == {"empty file (a save that was cut off)": 1, "expiry without a value": 1}
    assert content(directory) == before
    with TieredBackend.from_url(url, namespace="will") as store:
        assert dict(store.items()) == {
            "list": b"0f/bGlzdA==\n",
            "soon": b"0f/c29vbg==\n",
            ".z.expires": b"0f/YSBrZXk=\n",
            "z": b"0f/eg==\n",
            stored_name("k" * 250): b"0f/bG9uZw==\n",
        }
        left = store.ttl("soon")
        assert left is not None and 3000 < left <= 3600 and store.ttl("list") == float("inf")


def test_what_the_bot_has_changed_since_is_kept_unless_asked(directory: Path, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    assert migrate("will-file", str(directory), "--url", url).returncode == 0
    with TieredBackend.from_url(url, namespace="will") as store:
        store.set("list", b"newer")
        store.delete("z")
    again = migrate("will-file", str(directory), "--url", url)
    assert again.returncode == 1 and "1  DIFFERENT in the store" in again.stdout and "list" in again.stdout
    assert "1  copied" in again.stdout and "3  there already" in again.stdout and "4  verified" in again.stdout
    with TieredBackend.from_url(url, namespace="will") as store:
        assert store.get("list") == b"newer" and store.get("z") == b"0f/eg==\n"
    forced = migrate("will-file", str(directory), "--url", url, "--overwrite")
    assert forced.returncode == 0 and "5  verified" in forced.stdout
    with TieredBackend.from_url(url, namespace="will") as store:
        assert store.get("list") == b"0f/bGlzdA==\n"


def test_a_time_of_expiry_that_has_changed_is_a_difference(directory: Path, tmp_path: Path) -> None:
    """A trial run before the switch must not make what Will has since kept for longer end when it would have ended then."""
    url, expiry = f"file:{tmp_path}/data", directory / ".soon.expires"
    assert migrate("will-file", str(directory), "--url", url).returncode == 0
    expiry.write_text(str(int(time.time()) + 7200))
    (directory / ".list.expires").write_text(str(int(time.time()) + 3600))
    again = json.loads(migrate("will-file", str(directory), "--url", url, "--json").stdout)
    assert sorted(again["different_keys"]) == ["list", "soon"] and again["already_there"] == 3 and not again["complete"]
    forced = json.loads(migrate("will-file", str(directory), "--url", url, "--overwrite", "--json").stdout)
    assert forced["copied"] == 2 and forced["verified"] == 5 and forced["complete"]
    with TieredBackend.from_url(url, namespace="will") as store:
        assert 7000 < (store.ttl("soon") or 0) <= 7200 and 3500 < (store.ttl("list") or 0) <= 3600
    expiry.unlink()
    assert migrate("will-file", str(directory), "--url", url, "--overwrite").returncode == 0
    with TieredBackend.from_url(url, namespace="will") as store:
        assert store.ttl("soon") == math.inf


def test_what_another_run_has_copied_a_moment_ago_is_no_difference(directory: Path, tmp_path: Path) -> None:
    others = list[Outcome]()

    class Overtaken(Migration):
        """Another run copies everything between the first look and the first write of this one."""

        def _of_record(self, names: list[str]) -> dict[str, tuple[Any, ...] | None]:
            found = super()._of_record(names)
            if not others:
                others.append(run(Migration))
            return found

    with TieredBackend.from_url(f"file:{tmp_path}/data", namespace="will") as store:

        def run(kind: type[Migration]) -> Outcome:
            source = FileSource(str(directory))
            return kind(source, store, dry_run=False, overwrite=False, on_progress=lambda *_: None).run()

        outcome = run(Overtaken)
    assert outcome.already_there == outcome.verified == 5 and not outcome.different and outcome.complete


def test_killed_in_the_middle_and_run_again(wills: redis.Redis, tmp_path: Path) -> None:
    values = {f"key:{n}": f"0f/{n}" for n in range(1500)}
    wills.mset(values)
    url, place = f"file:{tmp_path}/data", f"redis://127.0.0.1:{wills.connection_pool.connection_kwargs['port']}/7"
    line, env = command("will-redis", place, "--url", url)
    process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with TieredBackend.from_url(url, namespace="will") as store:
        eventually(lambda: len(list(store.keys())) > 100, "a part of it")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert 0 < len(list(store.keys())) < len(values), "it was not the middle"
    outcome = json.loads(migrate("will-redis", place, "--url", url, "--json").stdout)
    assert outcome["already_there"] > 0 and outcome["copied"] > 0
    assert outcome["already_there"] + outcome["copied"] == outcome["verified"] == len(values) and outcome["complete"]
    with TieredBackend.from_url(url, namespace="will") as store:
        assert dict(store.items()) == {key: value.encode() for key, value in values.items()}
    assert wills.mget(values) == [value.encode() for value in values.values()]


def test_a_database_with_keys_of_others(wills: redis.Redis, tmp_path: Path) -> None:
    wills.mset({"list": "0f/a", "other:1": "x", b"\xff": "0f/b"})
    wills.set("soon", "0f/c", px=3_600_000)
    wills.lpush("a list", 1)
    place = f"redis://127.0.0.1:{wills.connection_pool.connection_kwargs['port']}/7"
    url = f"file:{tmp_path}/data"
    only = json.loads(migrate("will-redis", place, "--match", "[^o]*", "--url", url, "--json").stdout)
    assert only["copied"] == 3 and only["left_out"] == {"Redis list, not of Will's": 1}
    with TieredBackend.from_url(url, namespace="will") as store:
        assert set(store.keys()) == {"list", "soon", stored_name(b"\xff")}
        left = store.ttl("soon")
        assert left is not None and 3000 < left <= 3600
    every = json.loads(migrate("will-redis", place, "--url", url, "--json").stdout)
    assert every["copied"] == 1 and every["already_there"] == 3


@pytest.mark.parametrize("match", ["*", "nobody*"])
def test_a_source_with_nothing_of_wills_is_no_success(wills: redis.Redis, tmp_path: Path, match: str) -> None:
    """As with a slip in the number of the database: a script would start the bot without its memory."""
    if match != "*":
        wills.set("list", "0f/a")
    place = f"redis://127.0.0.1:{wills.connection_pool.connection_kwargs['port']}/7"
    done = migrate("will-redis", place, "--match", match, "--url", f"file:{tmp_path}/data")
    assert done.returncode == 1 and "NOTHING of Will's was found there" in done.stdout
    outcome = json.loads(
        migrate("will-redis", place, "--match", match, "--url", f"file:{tmp_path}/data", "--json").stdout
    )
    assert outcome["found"] == 0 and not outcome["complete"]


def test_large_values_are_not_asked_for_all_at_once(wills: redis.Redis, redis_url: str) -> None:
    """Two hundred of them are more than a Redis answers within its time, and then no run would ever come to an end."""
    wills.mset({f"history:{n}": f"{n}" * 500_000 for n in range(10, 20)})
    place = f"redis://127.0.0.1:{wills.connection_pool.connection_kwargs['port']}/7"
    url = f"{redis_url}?max_reply_bytes=3000000&timeout=5s"
    done = json.loads(migrate("will-redis", place, "--url", url, "--json").stdout)
    assert done["copied"] == done["verified"] == 10 and done["complete"]
    again = json.loads(migrate("will-redis", place, "--url", url, "--json").stdout)
    assert again["already_there"] == again["verified"] == 10


def test_a_value_beyond_the_stores_limit_is_named(directory: Path, tmp_path: Path) -> None:
    (directory / "history").write_text("x" * 5000)
    (tmp_path / "tiered.toml").write_text(f'url = "file:{tmp_path}/data"\nmax_value_bytes = 4096\nnamespace = "mine"\n')
    done = migrate("will-file", str(directory), "--config", str(tmp_path / "tiered.toml"))
    assert done.returncode == 1 and "1  TOO LARGE" in done.stdout and "history" in done.stdout
    with TieredBackend.from_url(f"file:{tmp_path}/data", namespace="mine") as store:
        assert "list" in store and "history" not in store


def test_a_time_beyond_what_a_store_can_express_is_for_ever(directory: Path, tmp_path: Path) -> None:
    (directory / ".list.expires").write_text("9" * 13)
    assert migrate("will-file", str(directory), "--url", f"file:{tmp_path}/data").returncode == 0
    with TieredBackend.from_url(f"file:{tmp_path}/data", namespace="will") as store:
        assert store.ttl("list") == math.inf


def test_into_memory_alone_nothing_is_migrated(directory: Path) -> None:
    done = migrate("will-file", str(directory), "--url", "memory://")
    assert done.returncode == 2 and "forgets" in done.stderr and "verified" not in done.stdout


def test_the_namespace_and_the_keys_may_be_those_of_the_environment(directory: Path, tmp_path: Path) -> None:
    line, env = command("will-file", str(directory))
    bots = {"TIERED_URL": f"file:{tmp_path}/data", "TIERED_NAMESPACE": "mine", "TIERED_KEYS": "env:BOT_KEYS"}
    keys = "may:" + urlsafe_b64encode(bytes(range(32))).decode()
    subprocess.run(line, env={**env, **bots, "BOT_KEYS": keys}, check=True, capture_output=True)
    with TieredBackend.from_url(bots["TIERED_URL"], namespace="mine", keys={"may": bytes(range(32))}) as store:
        assert store.get("list") == b"0f/bGlzdA==\n"


def test_progress_is_shown_on_a_terminal(directory: Path, tmp_path: Path) -> None:
    code, output, shown = on_a_terminal(*command("will-file", str(directory), "--url", f"file:{tmp_path}/data"))
    assert code == 0 and b"verified" in output
    assert b"copying" in shown and b"verifying" in shown and shown.endswith(b"\r\x1b[K")


def test_wrong_places_are_exit_2_and_servers_out_of_reach_exit_3(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    assert migrate("will-file", str(tmp_path / "nowhere"), "--url", url).returncode == 2
    assert not (tmp_path / "data").exists(), "a slip in the source leaves no store behind"
    away = migrate("will-redis", f"redis://:pass%2Fword@127.0.0.1:{free_port()}/7", "--url", url)
    assert away.returncode == 3 and "cannot be read" in away.stderr and "word" not in away.stderr.split("password")[0]
    assert migrate("will-redis", "redis://localhost:port/7", "--url", url).returncode == 2
    for typo in ("redis://localhost/seven", "rediss://localhost/7?ssl_ca_cert=x"):
        refused = migrate("will-redis", typo, "--url", url)
        assert refused.returncode == 2 and "will-redis: " in refused.stderr, "and not: nothing to copy from database 0"
    assert migrate("--url", url).returncode == 2


def test_why_a_redis_cannot_be_read_is_told(wills: redis.Redis, tmp_path: Path) -> None:
    server, url = f"127.0.0.1:{wills.connection_pool.connection_kwargs['port']}", f"file:{tmp_path}/data"
    beyond = migrate("will-redis", f"redis://{server}/77", "--url", url)
    assert beyond.returncode == 3 and "DB index is out of range; choose a database" in beyond.stderr
    wills.config_set("requirepass", "s3cret")
    try:
        for place, told in ((server, "Authentication required"), (f"redis://:wr0ng@{server}/7", "invalid")):
            refused = migrate("will-redis", place, "--url", url)
            assert refused.returncode == 3 and told in refused.stderr and "check the password" in refused.stderr
            assert "wr0ng" not in refused.stderr
    finally:
        wills.config_set("requirepass", "")


def test_a_directory_that_is_not_wills_is_refused(directory: Path, tmp_path: Path) -> None:
    (directory / ".will_settings").unlink()
    done = migrate("will-file", str(directory), "--url", f"file:{tmp_path}/data")
    assert done.returncode == 2 and "has no .will_settings" in done.stderr
    with TieredBackend.from_url(f"file:{tmp_path}/data", namespace="will") as store:
        assert not list(store.keys())


def test_a_file_that_may_not_be_read_ends_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    source = FileSource(str(directory))
    monkeypatch.setattr(Path, "read_bytes", refuse)  # root, as whom CI runs, may read everything
    with pytest.raises(StoreUnavailable, match="as the user of the bot"):
        list(source.values())
