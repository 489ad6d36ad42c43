"""`tiered bench` on a real chain, and completion in a real bash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import Terminal, environment, tiered
from tiered import TieredBackend
from tiered.cli.main import _parser, main
from tiered.cli.measuring import NAMESPACE

QUICK = ("bench", "--seconds", "0.05", "--keys", "200")


def test_bench_measures_the_chain_and_each_tier_and_leaves_nothing(url: str) -> None:
    assert tiered("set", "bench:1", "mine", url=url).returncode == 0
    result = tiered(*QUICK, "--threads", "2", "--json", url=url)
    assert result.returncode == 0, result.stderr
    rows = {(it["what"], it["operation"]): it for it in json.loads(result.stdout)["results"]}
    assert list(rows) == [
        *(("chain", name) for name in ("set", "set_many 100", "get_many 100", "get, in memory")),
        *(("redis", "get"), ("redis", "put"), ("file", "read"), ("file", "commit")),
    ]
    for row in rows.values():
        assert row["per_second"] > 0 and 0 < row["p50"] <= row["p99"] <= row["slowest"] and not row["error"]
    assert rows["chain", "get, in memory"]["p50"] < rows["redis", "get"]["p50"], "memory is not what was measured"
    with TieredBackend.from_url(url) as store:
        assert store.get("bench:1") == "mine"
        assert list(store.namespace(NAMESPACE).keys()) == []
    assert json.loads(tiered("stat", "--json", url=url).stdout)["tiers"][0]["pending"] == 0


def test_bench_says_which_tier_it_could_not_measure(tmp_path: Path) -> None:
    result = tiered(*QUICK, url=f"redis://127.0.0.1:1/0,file:{tmp_path}/data")
    assert result.returncode == 3 and "Connection refused" in result.stdout and "commit" in result.stdout


def test_bench_clears_no_namespace_of_anybody_else(url: str) -> None:
    assert tiered(*QUICK, "--namespace", "mine", url=url).returncode == 2
    with TieredBackend.from_url(url) as store:
        store.namespace(NAMESPACE).set("precious", 1)
    result = tiered(*QUICK, url=url)
    assert result.returncode == 2 and NAMESPACE in result.stderr
    with TieredBackend.from_url(url) as store:
        assert store.namespace(NAMESPACE).get("precious") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_clears_up(tmp_path: Path, number: signal.Signals) -> None:
    url = f"file:{tmp_path}/data"
    with Terminal("bench", "--seconds", "600", columns=80, url=url) as terminal:
        terminal.until(lambda text: "measuring" in text)
        terminal.process.send_signal(number)
        assert terminal.end() == 130
    with TieredBackend.from_url(url) as store:
        assert list(store.namespace(NAMESPACE).keys()) == []


def completed(script: Path, line: str) -> list[str]:
    """What bash offers at the end of `line`."""
    words = line.split(" ")
    program = (
        f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}};'
        ' _shtab_tiered; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    shell = ["bash", "--norc", "-c", program, "bash", *words]
    return subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split()


def test_completion_in_bash(tmp_path: Path) -> None:
    script = tmp_path / "tiered.bash"
    script.write_text(tiered("completion", "bash").stdout)
    assert {"doctor", "top", "stat", "bench", "verify"} <= set(completed(script, "tiered "))
    assert completed(script, "tiered do") == ["doctor"]
    assert completed(script, "tiered get --exp") == ["--explain"]
    assert completed(script, "tiered set k v --type f") == ["float"]


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef tiered"), ("fish", "")])
def test_completion_elsewhere_knows_every_command(shell: str, begins: str) -> None:
    text = tiered("completion", shell).stdout
    assert text.startswith(begins) and all(name in text for name in ("doctor", "explain", "value-bytes"))


def test_an_unknown_shell_is_a_usage_error() -> None:
    result = tiered("completion", "tcl")
    assert result.returncode == 2 and "bash" in result.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['shtab'] = None; from tiered.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "completion", "bash"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert result.returncode == 2 and "pip install '.[cli]'" in result.stderr


COMMANDS = _parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]  # argparse has no other way


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_teaches_by_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    told = capsys.readouterr().out
    assert f"tiered {command}".strip() in told.partition("examples")[2]
    assert max(map(len, told.splitlines())) <= 120


def test_every_command_is_on_its_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert len(COMMANDS) > 10
    assert [name for name in COMMANDS if f"`{name}`" not in page] == []
