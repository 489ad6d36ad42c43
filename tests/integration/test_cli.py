"""The command line, as a process."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tiered import TieredBackend
from tiered.cli.demo_bot import Bot
from tiered.cli.demo_check import check
from tiered.cli.demo_screen import Screen
from tiered.cli.main import main


def tiered(*args: str, url: str | None = None, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("TIERED_URL", "REDIS_URL")}
    if url:
        env["TIERED_URL"] = url
    if path is not None:
        env["PATH"] = path
    return subprocess.run([sys.executable, "-m", "tiered.cli", *args], capture_output=True, text=True, env=env)


def test_an_interrupt_while_the_commands_are_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[main.__module__], "_parser", interrupted)
    assert main(["ls"]) == 130 and capsys.readouterr().err == "tiered: interrupted\n"


def test_set_get_ls_del(tmp_path: Path) -> None:
    url = f"memory://,file:{tmp_path}/data"
    assert tiered("set", "user:7", '{"a": 1}', "--type", "json", "--ttl", "60", url=url).returncode == 0
    assert tiered("get", "user:7", url=url).stdout == "{'a': 1}\n"
    found = json.loads(tiered("--json", "get", "user:7", url=url).stdout)
    assert found["value"] == {"a": 1} and found["tier"] == "file"
    assert tiered("ls", "user:", url=url).stdout == "user:7\n"
    assert tiered("del", "user:7", url=url).returncode == 0
    missing = tiered("get", "user:7", url=url)
    assert missing.returncode == 1 and missing.stdout == "" and "no such key" in missing.stderr


@pytest.mark.parametrize(("ttl", "lives"), [("90", 90), ("10m", 600), ("1.5h", 5400), ("7d", 604_800)])
def test_a_time_to_live_is_written_as_in_settings(tmp_path: Path, ttl: str, lives: float) -> None:
    url = f"memory://,file:{tmp_path}/data"
    assert tiered("set", "k", "v", "--ttl", ttl, url=url).returncode == 0
    with TieredBackend.from_url(url) as store:
        assert lives - 60 < (store.ttl("k") or 0) <= lives


@pytest.mark.parametrize(
    ("ttl", "says"),
    [
        ("10x", "--ttl: '10x' is not a time, such as 90, 250ms, 10m or 7d"),
        ("64mb", "--ttl: '64mb' is not a time, such as 90, 250ms, 10m or 7d"),
        ("-5m", "--ttl: '-5m' is negative"),
        ("-1", "--ttl: '-1' is negative"),
        ("inf", "--ttl: 'inf' is not"),
        ("0", "ttl must be greater than 0"),
        ("40000d", "at most 100 years"),
    ],
)
def test_a_time_to_live_that_cannot_be_is_a_usage_error_before_a_store_is_made(
    tmp_path: Path, ttl: str, says: str
) -> None:
    result = tiered("set", "k", "v", f"--ttl={ttl}", url=f"memory://,file:{tmp_path}/data")
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "TIERED_URL"),
        ("redsi://localhost,file:./x", "redis"),
        ("memory://?max_entires=5,file:./x", "max_entries"),
        ("redis://localhost:99999,file:./x", "port"),
        ("file://data", "file:./data"),
        ("redis://localhost/x,file:./x", "number"),
    ],
)
def test_a_chain_that_cannot_work_is_a_usage_error_that_says_what_to_do(url: str | None, says: str) -> None:
    result = tiered("get", "k", url=url)
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "command",
    ["get k", "get k --explain", "ls", "del k", "verify", "repair", "repair --apply", "replay", "stat", "top"],
)
def test_a_directory_without_a_store_is_a_usage_error_and_stays_as_it_is(command: str, tmp_path: Path) -> None:
    """A path with a slip in it must not look like a store in which all is well."""
    directory = tmp_path if command == "ls" else tmp_path / "absent"
    result = tiered(*command.split(), "--url", f"memory://,file:{directory}")
    assert result.returncode == 2 and f"there is no store in {directory};" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["get k", "ls", "verify", "stat", "backup /dev/null/copy"])
def test_a_directory_of_backups_is_no_store_and_stays_as_it_is(command: str, tmp_path: Path) -> None:
    (tmp_path / "bot-1.sqlite3").write_bytes(b"a backup")
    result = tiered(*command.split(), "--url", f"file:{tmp_path}")
    assert result.returncode == 2 and f"there is no store in {tmp_path};" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bot-1.sqlite3"]


def test_the_namespaces_are_listed_one_a_line(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    for name in ("bot", "all"):
        assert tiered("set", "k", "v", "--namespace", name, url=url).returncode == 0
    assert tiered("namespaces", url=url).stdout == "all\nbot\n"
    assert tiered("namespaces", "--json", url=url).stdout == '"all"\n"bot"\n'


def test_ls_that_finds_nothing_says_why_that_may_be(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    assert tiered("set", "alpha", "v", "--namespace", "bot", url=url).returncode == 0
    for prefix in ((), ("a*",)):
        typo = tiered("ls", *prefix, "--namespace", "bto", url=url)
        assert (typo.returncode, typo.stdout) == (0, "")
        assert typo.stderr == "tiered: namespace bto has no key; others that this store knows: bot\n"
    pattern = tiered("ls", "a*", "--namespace", "bot", url=url)
    assert (pattern.returncode, pattern.stdout) == (0, "")
    assert pattern.stderr == "tiered: no key begins with 'a*'; PREFIX is no pattern: * and ? stand for themselves\n"
    assert tiered("ls", "b", "--namespace", "bot", url=url).stderr == ""
    assert tiered("del", "alpha", "--namespace", "bot", url=url).returncode == 0
    assert tiered("ls", "--namespace", "bot", url=url).stderr == "", "there is no other"


def test_an_unreachable_store_of_record_is_exit_3() -> None:
    result = tiered("get", "k", url="redis://127.0.0.1:1/0")
    assert result.returncode == 3 and "redis" in result.stderr


def test_demo_without_a_server_keeps_every_write() -> None:
    result = tiered("demo", "--seconds", "2", "--users", "400", "--json", path="")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert report["missing"] == [] and report["errors"] == 0 and set(report["tiers"]) == {"file"}


@pytest.mark.parametrize("command", ["demo", "chaos"])
def test_where_nothing_temporary_can_be_made_one_line_says_what_to_set(tmp_path: Path, command: str) -> None:
    code = f"import sys, tempfile; tempfile.tempdir = {str(tmp_path / 'gone')!r}; from tiered.cli import main; sys.exit(main())"
    result = subprocess.run([sys.executable, "-c", code, command, "--seconds", "1"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "set TMPDIR" in result.stderr


def test_demo_kills_its_redis_and_the_bot_does_not_notice() -> None:
    result = tiered("demo", "--seconds", "4", "--users", "400", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert report["missing"] == [] and report["errors"] == 0
    assert report["written"]["redis ok"] > 0 and report["written"]["redis queued"] > 0


def test_demo_tells_of_the_kill_before_what_follows_from_it() -> None:
    told = tiered("demo", "--seconds", "2", "--users", "50").stdout
    assert 0 < told.index("Redis is killed") < told.index("out of service") and "queued: replayed" in told


def test_demo_leaves_the_redis_of_the_user_running_and_as_it_was(redis_server: RedisServer, tmp_path: Path) -> None:
    where = ("--redis-url", redis_server.url, "--directory", str(tmp_path / "data"))
    result = tiered("demo", "--seconds", "3", "--users", "300", "--json", *where)
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert report["missing"] == [] and report["errors"] == 0 and list(report["longest_ms"]) == ["before"]
    assert report["written"]["redis ok"] > 0 and redis_server.process.poll() is None
    with redis.Redis.from_url(redis_server.url) as client:
        left = {key: client.pttl(key) for key in client.scan_iter("tiered:demo-*")}
    claims = [key for key in left if key.endswith(b":store")]
    assert len(claims) == 1 and 0 < left.pop(claims[0]) <= 600_000, "whose the namespace is; it expires by itself"
    assert all(0 < ttl <= 60_000 for ttl in left.values()), "what clear() hides must also go away soon"


def test_demo_interrupted_still_checks(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": ""}
    command = [sys.executable, "-u", "-m", "tiered.cli", "demo", "--seconds", "60", "--users", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        while "calls" not in (line := process.stdout.readline()):  # the first progress line: the bots are at work
            assert line, "the demo ended by itself"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0 and "interrupted" in rest and "OK: all" in rest
    assert max(map(len, rest.splitlines())) <= 80


def test_options_work_before_and_after_the_command(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    assert tiered("--url", url, "--namespace", "a", "set", "k", "5", "--type", "int").returncode == 0
    assert tiered("get", "k", "--url", url, "--namespace", "a").stdout == "5\n"
    assert tiered("get", "k", "--url", url).returncode == 1
    config = tmp_path / "tiered.toml"
    config.write_text(f'[tiered]\nurl = "{url}"\nnamespace = "a"\n')
    assert json.loads(tiered("get", "k", "--config", str(config), "--json").stdout)["value"] == 5


def test_a_value_of_the_wrong_type_is_a_usage_error_that_does_not_repeat_it(tmp_path: Path) -> None:
    for kind in ("int", "float", "json"):
        result = tiered("set", "k", "hunter2", "--type", kind, url=f"file:{tmp_path}/data")
        assert result.returncode == 2 and "hunter2" not in result.stderr and result.stderr.count("\n") == 1


def test_values_that_json_does_not_have_are_still_printed(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    assert tiered("set", "k", "inf", "--type", "float", url=url).returncode == 0
    assert json.loads(tiered("get", "k", "--json", url=url).stdout)["value"] == "inf"


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        ("b'x'", "json", "b'x'"),
        (b"\0x", "base64", "AHg="),
        (bytearray(b"x"), "python", "bytearray(b'x')"),
        ({2}, "python", "{2}"),
        ((1, 2), "python", "(1, 2)"),
        ([1, (2,)], "python", "[1, (2,)]"),
        ({1: "a"}, "python", "{1: 'a'}"),
        ({"a": b"x"}, "python", "{'a': b'x'}"),
        (math.inf, "python", "inf"),
        (math.nan, "python", "nan"),
        ({"a": [1, 2.5, None, True, "x"]}, "json", {"a": [1, 2.5, None, True, "x"]}),
        (None, "json", None),
    ],
)
def test_the_json_of_a_value_tells_what_it_is(value: object, form: str, shown: object, tmp_path: Path) -> None:
    with TieredBackend.from_url(f"file:{tmp_path}/data") as store:
        store.set("k", value)
    found = json.loads(tiered("get", "k", "--json", url=f"file:{tmp_path}/data").stdout)
    assert (found["found"], found["form"], found["value"]) == (True, form, shown)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    with TieredBackend.from_url(url) as store:
        store.set_many({f"a-rather-long-key-{number:06}": 1 for number in range(10_000)})
    command = [sys.executable, "-m", "tiered.cli", "ls", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_key_is_one_line_of_ls_and_never_controls_the_terminal(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    with TieredBackend.from_url(url) as store:
        store.set_many({"a\nb": 1, "c\x1b[2J": 1, "ключ": 1})
    assert tiered("ls", url=url).stdout == '"a\\nb"\n"c\\u001b[2J"\nключ\n'


def test_an_output_that_cannot_show_or_take_a_value_is_told_in_one_line(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    with TieredBackend.from_url(url) as store:
        store.set("ключ", "значение")
    command = [sys.executable, "-m", "tiered.cli", "get", "ключ", "--url", url]
    narrow = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert narrow.returncode == 0 and narrow.stdout.startswith("\\u0437") and narrow.stderr == ""
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and result.stderr.startswith("tiered: cannot write to standard output: No space")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_no_failure(tmp_path: Path, closed: str) -> None:
    url = f"memory://,file:{tmp_path}/data"
    assert tiered("set", "k", "v", url=url).returncode == 0
    shell = f'"{sys.executable}" -m tiered.cli --url "{url}" "$@" {closed}'
    for command, code in (("get k", 0), ("get absent", 1), ("ls", 0)):
        ran = subprocess.run(["sh", "-c", shell, "sh", *command.split()], capture_output=True, text=True)
        assert ran.returncode == code and "Traceback" not in ran.stderr
        assert "tiered:" not in ran.stdout, "what is for standard error"


def test_an_error_that_names_a_path_is_not_one_of_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/var/lib/bot")

    module = sys.modules[main.__module__]  # as an attribute of its package it is the function
    monkeypatch.setattr(module, "_run", fails)
    monkeypatch.setattr(module, "_silence", lambda: None)
    assert main(["ls"]) == 1
    assert capsys.readouterr().err == "tiered: /var/lib/bot: Permission denied\n"


@pytest.mark.parametrize(
    "args", [("set", "k", "v", "--ttl", "1e300"), ("ls", "\udcff"), ("get", ""), ("set", "k", "\udcff")]
)
def test_bad_arguments_are_a_usage_error_in_one_line(args: tuple[str, ...], tmp_path: Path) -> None:
    result = tiered(*args, url=f"file:{tmp_path}/data")
    assert (result.returncode, result.stdout) == (2, "") and result.stderr.count("\n") == 1


def test_version_and_help() -> None:
    assert tiered("--version").stdout.startswith("tiered ")
    assert "tiered set user:7" in tiered("--help").stdout
    assert tiered("demo", "--seconds", "0").returncode == 2


def test_the_check_of_the_demo_finds_what_is_missing_old_or_counted_wrongly(tmp_path: Path) -> None:
    chain = ["memory://", f"file:{tmp_path}/data"]
    with TieredBackend.from_url(",".join(chain), namespace="demo") as store:
        store.set_many({"kept": 1, "old": 1, "messages": 4, "room:0": {"count": 2, "lines": []}})
        bots = [Bot(store, 2, 2, number, seed=1) for number in range(2)]
    bots[0].ledger = {"kept": 1, "old": 2, "lost": 1, "unclear": 1}
    bots[0].unsure = {"unclear"}
    for bot in bots:
        bot.shared.update({"messages": 2, "room:0": 2})
    wrong = check(chain, "demo", bots, Screen(quiet=True))
    assert {line.partition(" through")[0].partition(",")[0] for line in wrong} == {
        "old: old or wrong",
        "lost: missing",
        "room:0: old or wrong",
    }
    assert len(wrong) == 6  # each through the chain and from the file alone
