"""serve_metrics: on loopback, over TLS, whatever other clients do; and mounted into applications of others."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import pytest
import trustme
from prometheus_client import CollectorRegistry, Gauge

from tests.prometheus import ROOT
from tests.waiting import LIMIT, eventually
from tiered import ConfigError, MemoryTier, StoreUnavailable, TieredBackend
from tiered.cli.endpoints import Endpoints
from tiered.observability.metrics import asgi_app, serve_metrics, wsgi_app
from tiered.observability.serving import CONNECTIONS


class Certificates:
    """A server's and a client's, from an authority of their own."""

    def __init__(self, directory: Path) -> None:
        authority, self._directory = trustme.CA(), directory
        self.authority = self._write("ca.pem", authority.cert_pem)
        self.server = self._write("server.pem", authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem)
        self.client = self._write("client.pem", authority.issue_cert("client").private_key_and_cert_chain_pem)

    def _write(self, name: str, blob: trustme.Blob) -> Path:
        blob.write_to_path(str(self._directory / name))
        return self._directory / name

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        if client:
            context.load_cert_chain(self.client)
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store() -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier()], name="served") as store:
        yield store


def scrape(url: str, context: ssl.SSLContext | None = None) -> str:
    with urllib.request.urlopen(url, timeout=LIMIT, context=context) as answer:
        return str(answer.read().decode())


def test_it_serves_on_loopback_until_it_is_closed(store: TieredBackend, registry: CollectorRegistry) -> None:
    with serve_metrics(registry=registry) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert 'tiered_tier_info{cache="served"' in scrape(server.url)
    server.close()
    with pytest.raises(OSError):
        scrape(server.url)
    assert "tiered-metrics" not in {thread.name for thread in threading.enumerate()}


def test_tls_is_verified_and_plain_clients_are_refused(certificates: Certificates, registry: CollectorRegistry) -> None:
    with serve_metrics(registry=registry, certfile=certificates.server) as server:
        assert server.url.startswith("https://")
        assert "tiered_build_info" in scrape(server.url, certificates.context())
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            scrape(server.url, ssl.create_default_context())
        with pytest.raises(OSError):
            scrape(server.url.replace("https", "http"))
        assert "tiered_build_info" in scrape(server.url, certificates.context())


def test_with_client_ca_only_known_clients_are_answered(
    certificates: Certificates, registry: CollectorRegistry
) -> None:
    options = {"certfile": certificates.server, "client_ca": certificates.authority}
    with serve_metrics(registry=registry, **options) as server:  # type: ignore[arg-type]  # paths
        assert "tiered_build_info" in scrape(server.url, certificates.context(client=True))
        with pytest.raises(OSError):
            scrape(server.url, certificates.context())


def test_whoever_asks_from_the_command_line_is_told_what_tls_wants(
    certificates: Certificates, registry: CollectorRegistry, store: TieredBackend
) -> None:
    tls: dict[str, Any] = {"registry": registry, "certfile": certificates.server}
    ca, cert = str(certificates.authority), str(certificates.client)
    with serve_metrics(**tls) as any_, serve_metrics(**tls, client_ca=ca) as known, serve_metrics() as plain:
        for url, told in (
            (any_.url, "give --ca"),
            (any_.url.replace("https", "http"), "write https://"),
            (plain.url.replace("http", "https"), "write http://"),
        ):
            with pytest.raises(StoreUnavailable, match=told):
                Endpoints([url]).look()
        with pytest.raises(StoreUnavailable, match="give --cert"):
            Endpoints([known.url], ca=ca).look()
        Endpoints([any_.url], ca=ca).look()
        Endpoints([known.url], ca=ca, cert=cert).look()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_idle_clients_do_not_block_a_scrape(certificates: Certificates, registry: CollectorRegistry, tls: bool) -> None:
    """Fault 35: connections that say nothing, in the handshake or after it, and one that says half a request."""
    options: dict[str, Any] = {"certfile": certificates.server} if tls else {}
    with serve_metrics(registry=registry, timeout=LIMIT, **options) as server:
        idle = [socket.create_connection((server.addr, server.port)) for _ in range(CONNECTIONS - 1)]
        idle[0].sendall(b"GET /met")
        assert "tiered_build_info" in scrape(server.url, certificates.context() if tls else None)
        for it in idle:
            it.close()


def test_a_client_that_says_nothing_is_hung_up_on(registry: CollectorRegistry) -> None:
    with serve_metrics(registry=registry, timeout=0.05) as server:
        with socket.create_connection((server.addr, server.port), timeout=LIMIT) as idle:
            assert idle.recv(1) == b""
        assert "tiered_build_info" in scrape(server.url)


def test_clients_beyond_the_limit_are_hung_up_on(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    with serve_metrics(registry=registry, timeout=LIMIT) as server:
        idle = [socket.create_connection((server.addr, server.port), timeout=LIMIT) for _ in range(CONNECTIONS)]
        eventually(lambda: server._server._free._value == 0)
        with socket.create_connection((server.addr, server.port), timeout=LIMIT) as one_more:
            assert one_more.recv(1) == b""
        assert "hung up on" in caplog.text
        for it in idle:
            it.close()
        eventually(lambda: server._server._free._value == CONNECTIONS)
        assert "tiered_build_info" in scrape(server.url)


def test_a_client_that_says_a_byte_now_and_then_is_hung_up_on(registry: CollectorRegistry) -> None:
    """Each byte is in time; a request of single bytes would keep its place for hours."""
    with serve_metrics(registry=registry, timeout=0.5) as server:
        with socket.create_connection((server.addr, server.port), timeout=LIMIT) as slow:
            slow.sendall(b"GET /")
            slow.setblocking(False)
            eventually(lambda: _is_hung_up_on(slow), "being hung up on")
        eventually(lambda: server._server._free._value == CONNECTIONS)
        assert "tiered_build_info" in scrape(server.url)


def _is_hung_up_on(client: socket.socket) -> bool:
    """If not, it says another byte."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        with suppress(ConnectionError):
            client.send(b"x")
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("read", [0, 100], ids=["at once", "in the middle"])
def test_a_client_that_hangs_up_leaves_no_traceback_on_the_console(
    certificates: Certificates, registry: CollectorRegistry, tls: bool, read: int, capfd: pytest.CaptureFixture[str]
) -> None:
    gauge = Gauge("long", "More than a connection holds.", ["n"], registry=registry)
    for n in range(20_000):
        gauge.labels(f"{n:0200}").set(1)
    with serve_metrics(
        registry=registry, timeout=LIMIT, **({"certfile": certificates.server} if tls else {})
    ) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((server.addr, server.port))
        if tls:
            client = certificates.context().wrap_socket(client, server_hostname="127.0.0.1")
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        if read:
            client.recv(read)
        client.close()
        eventually(lambda: server._server._free._value == CONNECTIONS)
    assert capfd.readouterr().err == ""


def test_whoever_listens_to_the_world_is_told_so(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    serve_metrics(registry=registry, addr="0.0.0.0").close()
    assert "without TLS" in caplog.text


def test_what_cannot_work_is_a_config_error(tmp_path: Path, registry: CollectorRegistry) -> None:
    alone = tmp_path / "alone.pem"
    trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(str(alone))
    with serve_metrics(registry=registry) as server:
        for options, why in (
            ({"port": server.port}, "give another addr or port"),
            ({"port": -1}, "port"),
            ({"port": 70000}, "give another addr or port"),
            ({"addr": "256.0.0.1"}, "give another addr or port"),
            ({"addr": ""}, "for all of them 0.0.0.0"),
            ({"certfile": tmp_path / "absent.pem"}, "No such file"),
            ({"certfile": alone}, "keyfile one of its key"),
            ({"keyfile": tmp_path / "key.pem"}, "need a certfile"),
            ({"client_ca": tmp_path / "ca.pem"}, "need a certfile"),
            ({"timeout": 0}, "timeout"),
        ):
            with pytest.raises(ConfigError, match=why):
                serve_metrics(registry=registry, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_a_forked_child_does_not_hold_the_port(registry: CollectorRegistry) -> None:
    with serve_metrics(registry=registry) as server:
        if not (pid := os.fork()):
            os._exit(0 if server._closed and server._server.socket.fileno() == -1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert "tiered_build_info" in scrape(server.url)


def test_a_forked_child_does_not_hold_the_parents_clients(registry: CollectorRegistry) -> None:
    with serve_metrics(registry=registry) as server, socket.create_connection((server.addr, server.port)):
        eventually(lambda: server._server._until)
        if not (pid := os.fork()):
            os._exit(sum(it.fileno() != -1 for it in server._server._until))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


FORGOTTEN = """
import gc, os, sys
from tiered.observability.metrics import serve_metrics
url = serve_metrics().url
gc.collect()
if os.fork():
    sys.stdin.read()
else:
    print(os.getpid(), url, flush=True)  # here, when all that a fork brings has been done
    sys.stdin.close()
    import signal
    signal.pause()
"""


def test_a_child_does_not_hold_the_port_of_a_server_that_nobody_kept(registry: CollectorRegistry) -> None:
    """Whoever starts the bot anew could not have it, and scrapes would hang: nobody answers in the child."""
    bot = subprocess.Popen([sys.executable, "-c", FORGOTTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert bot.stdout is not None
    pid, url = bot.stdout.readline().decode().split()
    try:
        assert "tiered_build_info" in scrape(url)
        bot.kill()
        bot.wait()
        serve_metrics(int(urlsplit(url).port or 0), registry=registry).close()
    finally:
        os.kill(int(pid), signal.SIGKILL)
        bot.communicate()


# Mounted


def test_it_is_mounted_into_a_wsgi_application(store: TieredBackend, registry: CollectorRegistry) -> None:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    answers: list[str] = []
    body = b"".join(wsgi_app(registry)(environ, lambda status, headers: answers.append(status)))
    assert answers == ["200 OK"] and b'cache="served"' in body


def test_it_is_mounted_into_an_asgi_application(store: TieredBackend, registry: CollectorRegistry) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": []}
    asyncio.run(asgi_app(registry)(scope, receive, send))
    assert sent[0]["status"] == 200 and b'cache="served"' in sent[1]["body"]


# Many processes, a port each

SERVE = """
import sys
from prometheus_client import CollectorRegistry
from tiered.observability.metrics import serve_metrics
server = serve_metrics(targets=sys.argv[1], registry=CollectorRegistry())
print(server.port, flush=True)
sys.stdin.read()
server.close()
"""


class Served:
    """A process that serves until it is told to end, or killed."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate(timeout=LIMIT)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=LIMIT)


def ports(directory: Path) -> set[int]:
    groups = [json.loads(path.read_text()) for path in directory.iterdir()]
    return {int(target.rpartition(":")[2]) for (group,) in groups for target in group["targets"]}


def test_each_process_has_a_port_and_a_target_file_of_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "targets"
    one, other = Served(directory), Served(directory)
    try:
        assert ports(directory) == {one.port, other.port} and one.port != other.port
        for port in ports(directory):
            assert "tiered_build_info" in scrape(f"http://127.0.0.1:{port}/metrics")
        one.end()
        assert ports(directory) == {other.port}
    finally:
        one.kill()
        other.kill()
    assert ports(directory) == {other.port}  # killed: nobody could remove it
    third = Served(directory)
    assert ports(directory) == {third.port}
    third.end()
    assert not list(directory.iterdir())


def test_a_target_says_how_it_is_to_be_scraped(
    certificates: Certificates, tmp_path: Path, registry: CollectorRegistry
) -> None:
    directory = tmp_path / "targets"
    with serve_metrics(registry=registry, certfile=certificates.server, targets=directory) as server:
        (path,) = directory.glob("*.json")
        assert json.loads(path.read_text()) == [
            {"targets": [f"127.0.0.1:{server.port}"], "labels": {"__scheme__": "https", "pid": str(os.getpid())}}
        ]


def test_a_forked_child_leaves_the_target_file_to_its_parent(tmp_path: Path, registry: CollectorRegistry) -> None:
    directory = tmp_path / "targets"
    with serve_metrics(registry=registry, targets=directory) as server:
        if not (pid := os.fork()):
            server.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert ports(directory) == {server.port}


def test_targets_that_cannot_be_written_are_a_config_error(tmp_path: Path, registry: CollectorRegistry) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="targets="):
        serve_metrics(registry=registry, targets=tmp_path / "file")


def test_a_server_whose_target_cannot_be_written_does_not_hold_its_port(
    tmp_path: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with monkeypatch.context() as full:
        full.setattr(os, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(ConfigError, match="cannot be written: No space"):
            serve_metrics(port, registry=registry, targets=tmp_path)
    assert not list(tmp_path.iterdir())
    serve_metrics(port, registry=registry).close()
