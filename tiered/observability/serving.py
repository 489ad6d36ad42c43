"""An HTTP server for /metrics: on loopback, with TLS if wanted, and no client can keep another from being answered.

Every connection has a thread of its own, with a time limit, and the TLS handshake happens there: where it happens
in the thread that accepts, one client that connects and says nothing stops all scrapes.
"""

from __future__ import annotations

import io
import ipaddress
import logging
import os
import socket
import ssl
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import REGISTRY

from tiered.arguments import absolute, number, whole
from tiered.errors import ConfigError
from tiered.forks import Forking, forget, register
from tiered.observability.targets import TargetFile

logger = logging.getLogger(__name__)

CONNECTIONS = 16
"""So many clients are served at once; more are hung up on."""


_PEM = (
    "certfile is a PEM file of the certificate and those that signed it, keyfile one of its key without a password (or that is"
    " in certfile, too), client_ca one of who signs clients"
)


class _Answer(io.BufferedIOBase):
    """Where the answer is written to. wsgiref prints a traceback for whatever is not a `ConnectionError`: of TLS, or of a client
    that does not read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, answer: Any) -> int:
        try:
            self._connection.sendall(answer)
        except OSError as error:
            raise ConnectionAbortedError(f"the client did not take the answer: {error}") from error
        return len(answer)


class _Handler(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.wfile = _Answer(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server that leaves everything slow to the connection's own thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], *, tls: ssl.SSLContext | None, timeout: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._tls, self._patience = tls, timeout
        self._free = BoundedSemaphore(CONNECTIONS)
        self._until: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            logger.warning("%d clients are asking for metrics already; one more was hung up on", CONNECTIONS)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # the system gives no thread; the next scrape may get one
            self._free.release()
            self.shutdown_request(request)
            logger.warning("no thread to answer a scrape: %s", error)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(self._patience)  # for one wait; service_actions sees to it that many do not add up
        if self._tls is None:
            self._answer(request, client_address)
            return
        with self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as wrapped:
            self._answer(wrapped, client_address)

    def service_actions(self) -> None:
        """In the accepting thread, between any two waits for clients: hang up on those whose time is over."""
        now = monotonic()
        for connection, until in list(self._until.items()):
            if until < now:
                with suppress(OSError):  # it is closed by now
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # its thread wakes up; TLS says no goodbye

    def _answer(self, connection: Any, client_address: Any) -> None:
        self._until[connection] = monotonic() + self._patience
        try:
            if self._tls is not None:
                _greet(connection)
            super().finish_request(connection, client_address)
        finally:
            del self._until[connection]

    def leave(self) -> None:
        """In a child after a fork: the port and the clients are the parent's, who could not hang up on them while another has them."""
        self.socket.close()
        for connection in list(self._until):
            if connection.fileno() >= 0:
                os.close(connection.detach())  # files of it are open, which `close` would wait for

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is slow, rude or speaks no TLS is its own problem."""
        logger.debug("a client asking for metrics was not answered", exc_info=True)


def _greet(connection: ssl.SSLSocket) -> None:
    """The handshake. A client that fails it may have sent its request already: closed on that, it would not hear why."""
    try:
        connection.do_handshake()
    except ssl.SSLError:
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_WR)
            while socket.socket.recv(connection, 65_536):  # below TLS, until the client hangs up or its time is over
                pass
        raise


class MetricsServer(Forking):
    """Serves until it is closed. A child that is forked meanwhile does not serve: it needs one of its own."""

    def __init__(self, server: _Server, scheme: str, target: TargetFile | None) -> None:
        self._server, self._target = server, target
        self.addr, self.port = server.server_name, server.server_port
        host = f"[{self.addr}]" if ":" in self.addr else self.addr
        self.url = f"{scheme}://{host}:{self.port}/metrics"
        self._thread = Thread(target=self._serve, name="tiered-metrics", daemon=True)
        self._closed = False
        self._thread.start()
        register(self)

    def close(self) -> None:
        """Stop serving and remove the target file. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._target is not None:
                self._target.remove()
            self._server.shutdown()
            self._thread.join(timeout=5.0)
            self._server.server_close()
            forget(self)

    def after_fork_in_child(self) -> None:
        """The port and the target file are the parent's."""
        self._closed = True
        self._server.leave()
        if self._target is not None:
            self._target.disown()

    def _serve(self) -> None:
        """A method of ours: whoever is told of forks is held weakly, and a bot may keep nothing of what it started."""
        self._server.serve_forever(poll_interval=0.1)

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_metrics(
    port: int = 0,
    addr: str = "127.0.0.1",
    *,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    client_ca: str | os.PathLike[str] | None = None,
    targets: str | os.PathLike[str] | None = None,
    timeout: float = 10.0,
    registry: CollectorRegistry = REGISTRY,
) -> MetricsServer:
    """Serve `registry`, with the metrics of tiered in it, at `addr`:`port` (0: any free one) in the background.

    With `certfile` (and `keyfile`, unless it is in there) over TLS; with `client_ca` only to clients that have a
    certificate from there. `targets` is a directory for a Prometheus file_sd file of this process, so that each of
    many has a port of its own. A client gets `timeout` seconds. Raises `ConfigError`.
    """
    from tiered.observability.metrics import install

    whole("port", port, 0)
    number("timeout", timeout, 0.001, 3600, " seconds")
    if not isinstance(addr, str) or not addr:  # to the system "" means every address
        raise ConfigError(f"addr must be an address or a host's name, not {addr!r:.40}; for all of them 0.0.0.0 or ::")
    tls = _tls(certfile, keyfile, client_ca)
    if tls is None and not _is_loopback(addr):
        logger.warning("metrics are served on %s without TLS: whoever reaches it can read them", addr)
    install(registry)
    target = None if targets is None else TargetFile(absolute(targets, "targets"))
    try:
        server = _Server((addr, port), tls=tls, timeout=timeout)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"metrics cannot be served on {addr}:{port}: {error}; give another addr or port") from error
    server.set_app(make_wsgi_app(registry))
    if target is not None:
        try:
            target.write(addr, server.server_port, "http" if tls is None else "https")
        except ConfigError:
            server.server_close()
            raise
    return MetricsServer(server, "http" if tls is None else "https", target)


def _tls(certfile: Any, keyfile: Any, client_ca: Any) -> ssl.SSLContext | None:
    if certfile is None:
        if keyfile is not None or client_ca is not None:
            raise ConfigError("keyfile and client_ca need a certfile: without one there is no TLS")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certfile, keyfile)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the certificate for the metrics cannot be used: {error}; {_PEM}") from error
    return context


def _is_loopback(addr: str) -> bool:
    try:
        return ipaddress.ip_address(addr).is_loopback
    except ValueError:
        return addr == "localhost"
