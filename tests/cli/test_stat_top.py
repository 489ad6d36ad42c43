"""`tiered stat` and `tiered top`: real bots, a real Redis that dies, real terminals."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.conftest import Bot
from tests.cli.running import Terminal, tiered
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

WITHOUT_RICH = str(Path(__file__).parent / "programs" / "without_rich")


def test_stat_tells_what_a_bot_does_and_that_a_breaker_opened(bot: Bot, redis_server: RedisServer) -> None:
    endpoint = bot.endpoint
    quick = ("stat", "--interval", "0.3", "--json", endpoint)
    seen = json.loads(tiered(*quick).stdout)
    (cache,) = seen["caches"]
    assert cache["cache"] == "bot" and cache["reads"] > 0 and cache["writes"] > 0 and cache["errors"] == 0
    assert [tier["tier"] for tier in cache["tiers"]] == ["memory", "redis", "file"]
    assert [tier["role"] for tier in cache["tiers"]] == ["memory", "cache", "record"]

    redis_server.kill()
    eventually(lambda: "redis OPEN" in tiered("stat", "--interval", "0.1", endpoint).stdout, "an open breaker")
    (cache,) = json.loads(tiered(*quick).stdout)["caches"]
    redis = cache["tiers"][1]
    assert redis["state"] in ("open", "half_open") and redis["away"] == 1 and redis["pending"] > 0
    assert cache["degraded"] > 0 and cache["errors"] == 0

    redis_server.start()
    eventually(lambda: "redis ok" in tiered("stat", "--interval", "0.1", endpoint).stdout, "a closed breaker")


def test_stat_sums_processes_and_says_which_are_silent(bots: Callable[[], Bot]) -> None:
    first, second = bots().endpoint, bots().endpoint
    silent = f"127.0.0.1:{free_port()}"
    seen = json.loads(tiered("stat", "--json", "--interval", "0.3", first, second, silent).stdout)
    assert seen["caches"][0]["processes"] == 2
    assert list(seen["silent"]) == [f"http://{silent}/metrics"]
    assert "1 endpoint SILENT" in tiered("stat", "--interval", "0.3", first, silent).stdout


@pytest.mark.parametrize("command", [["stat"], ["stat", "--json"], ["top"], ["top", "--json"]])
def test_a_chain_of_which_no_tier_answers_is_shown_and_is_exit_code_3(command: list[str]) -> None:
    shown = tiered(*command, url=f"memory://,redis://127.0.0.1:{free_port()}/0")
    assert shown.returncode == 3 and ("DOWN" in shown.stdout or '"ok": false' in shown.stdout)


def test_stat_without_an_endpoint_tells_how_the_tiers_are(url: str, redis_server: RedisServer) -> None:
    assert tiered("set", "k", "v", url=url).returncode == 0
    assert re.search(r"time +redis +file +pending +size\n[\d:]+ +ok \S+ +ok \S+ +0 ", tiered("stat", url=url).stdout)
    redis_server.kill()
    assert tiered("set", "k", "w", url=url).returncode == 0
    down = tiered("stat", url=url)
    assert re.search(r"DOWN \S+ +ok \S+ +1 ", down.stdout) and down.returncode == 0 and down.stderr == ""
    (redis, file) = json.loads(tiered("stat", "--json", url=url).stdout)["tiers"]
    assert (redis["ok"], redis["pending"], file["ok"]) == (False, 1, True)


@pytest.mark.parametrize("command", ["stat", "top"])
def test_what_cannot_be_looked_at_is_an_error_that_says_what_to_do(command: str, tmp_path: Path) -> None:
    nobody = tiered(command, f"127.0.0.1:{free_port()}")
    assert nobody.returncode == 3 and "Connection refused" in nobody.stderr and "serve_metrics" in nobody.stderr
    assert tiered(command, "ftp://host").returncode == 2
    no_chain = tiered(command)
    assert no_chain.returncode == 2 and "TIERED_URL" in no_chain.stderr
    useless = tiered(command, "--cache", "bot", url=f"file:{tmp_path}/data")
    assert useless.returncode == 2 and "endpoint" in useless.stderr


def test_a_cache_that_is_not_there_is_answered_with_those_that_are(healthy: str) -> None:
    result = tiered("top", "--cache", "nobody", healthy)
    assert result.returncode == 2 and "there are: bot" in result.stderr


def test_something_else_at_the_endpoint(redis_server: RedisServer) -> None:
    result = tiered("top", f"127.0.0.1:{redis_server.port}")
    assert result.returncode == 3 and "Traceback" not in result.stderr and "no answer" in result.stderr


def test_top_is_live_fits_and_shows_an_outage(bot: Bot, redis_server: RedisServer) -> None:
    command = ("top", "--interval", "0.2", bot.endpoint)
    with Terminal(*command, columns=80) as wide, Terminal(*command, columns=50) as narrow:
        for terminal in (wide, narrow):
            shown = terminal.until(lambda text: re.search(r"redis +closed +[\d,.k]+", text))
            assert "bot  " in shown and "Ctrl-C ends it" in shown
            rows = [line for line in terminal.lines() if line.startswith(("tier ", "memory", "redis", "file"))]
            assert len(rows) == 4
        assert "p99" in wide.text() and "size" in wide.text()
        assert wide.lines()[0].rstrip().endswith("/metrics") and narrow.lines()[0].rstrip().endswith("…"), "half a port"
        redis_server.kill()
        for terminal in (wide, narrow):
            terminal.until(
                lambda text: re.search(r"redis +(OPEN|HALF-OPEN) .* [1-9]\d*, \d", text) and "queued" in text
            )
            assert terminal.interrupt() == 0
            assert b"\x1b[?1049l" in terminal.raw, "the screen from before is not given back"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_terminal_back_however_it_is_ended(healthy: str, number: signal.Signals) -> None:
    """As with `timeout 60 tiered top`: else the shell goes on without a cursor, on the screen of `top`."""
    with Terminal("top", "--interval", "0.2", healthy, columns=80) as terminal:
        terminal.until(lambda text: "reads/s" in text)
        terminal.process.send_signal(number)
        assert terminal.end() == 0
        assert b"\x1b[?1049l" in terminal.raw and b"\x1b[?25h" in terminal.raw


def test_top_says_that_its_bot_is_gone(bot: Bot) -> None:
    with Terminal("top", "--interval", "0.2", bot.endpoint, columns=80) as terminal:
        terminal.until(lambda text: "reads/s" in text)
        bot.stop()
        shown = terminal.until(lambda text: "NO ANSWER" in text)
        assert "redis" in shown, "what was seen last is still there"
        assert terminal.interrupt() == 3


class Once(BaseHTTPRequestHandler):
    """Answers a question, and no other one."""

    def do_GET(self) -> None:
        self.server.server_close()
        body = b'tiered_tier_info{cache="bot",tier="file",role="record"} 1\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Closing(Once):
    """Closes its store after the second question, and goes on answering."""

    asked = 0

    def do_GET(self) -> None:
        Closing.asked += 1
        text = b'tiered_tier_info{cache="bot",tier="file",role="record"} 1\n'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text if Closing.asked <= 2 else b'tiered_build_info{version="1"} 1\n')


def test_a_store_that_is_closed_between_two_looks_ends_no_log() -> None:
    """The process opens it again, or ends in a moment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Closing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        result = tiered("stat", "--count", "3", "--interval", "0.1", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert result.returncode == 3 and result.stdout.count("its store is closed") == 2, result.stdout + result.stderr


class Trickle(BaseHTTPRequestHandler):
    """Answers a line now and then, for as long as somebody listens: each is in time."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"# and so on\n")
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        pass


class HalfAnAnswer(Once):
    """Hangs up before its end, as a process that is killed does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'tiered_tier_info{cache="bot",tier="file",role="record"} 1\n')


@pytest.fixture
def trickling() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Trickle) as server:
        server.daemon_threads, server.block_on_close = True, False
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_endpoint_that_never_ends_is_no_answer(trickling: str) -> None:
    for command in (("stat", "--count", "1"), ("top", "--once")):
        result = tiered(*command, trickling)
        assert result.returncode == 3 and "not all of it within" in result.stderr, result.stderr


def test_ctrl_c_ends_a_wait_for_such_an_endpoint(trickling: str) -> None:
    with Terminal("top", trickling, columns=80) as terminal:
        terminal.until(lambda text: "waiting for the first look" in text)
        terminal.interrupt()


def test_half_an_answer_is_none() -> None:
    """What is missing in it would be taken for what nobody did."""
    with HTTPServer(("127.0.0.1", 0), HalfAnAnswer) as server:
        Thread(target=server.handle_request).start()
        result = tiered("top", "--once", f"127.0.0.1:{server.server_port}")
    assert result.returncode == 3 and "in the middle" in result.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_bot_that_goes_away_between_two_looks_is_exit_3(form: tuple[str, ...]) -> None:
    with HTTPServer(("127.0.0.1", 0), Once) as server:
        Thread(target=server.handle_request).start()
        result = tiered("top", "--once", *form, "--interval", "0.1", f"127.0.0.1:{server.server_port}")
    assert (result.returncode, result.stdout) == (3, "")
    assert "no answer (Connection refused)" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 50])
def test_stat_is_as_wide_as_the_terminal(healthy: str, columns: int) -> None:
    with Terminal("stat", "--interval", "0.05", "--count", "25", healthy, columns=columns) as terminal:
        assert terminal.end() == 0
    lines = re.sub(rb"\x1b\[[\d;]*m", b"", terminal.raw).decode().splitlines()
    assert len([line for line in lines if "reads/s" in line]) == 2, "after twenty lines the heading comes again"
    assert len(lines) == 27 and max(map(len, lines)) < columns


def test_without_colours(healthy: str) -> None:
    with Terminal("stat", "--interval", "0.1", "--count", "1", healthy, columns=80, NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert b"\x1b[" not in terminal.raw
    assert "\x1b" not in tiered("top", "--interval", "0.1", healthy).stdout


def test_without_rich_there_is_still_a_snapshot(healthy: str) -> None:
    with Terminal("top", healthy, columns=80, PYTHONPATH=WITHOUT_RICH) as terminal:
        assert terminal.end() == 2
    assert "pip install '.[cli]'" in " ".join(terminal.text().split()) and "--once" in terminal.text()
    with Terminal("top", "--once", "--interval", "0.1", healthy, columns=80, PYTHONPATH=WITHOUT_RICH) as terminal:
        assert terminal.end() == 0
    assert "redis" in terminal.text()


def test_top_of_a_chain_shows_why_a_tier_is_down(url: str, redis_server: RedisServer) -> None:
    assert tiered("set", "k", "v", url=url).returncode == 0
    redis_server.kill()
    with Terminal("top", "--interval", "0.2", columns=50, url=url) as terminal:
        shown = terminal.until(lambda text: "DOWN" in text)
        assert re.search(r"redis +DOWN", shown) and "Connection refused" in shown and re.search(r"file +ok", shown)
        redis_server.start()
        terminal.until(lambda text: re.search(r"redis +ok", text))
        assert terminal.interrupt() == 0
