"""A TCP proxy in front of a real server that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["pass", "refuse", "hang", "drop", "delay", "lose_replies", "flap"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class ProxyCounts:
    """What a proxy did so far. Written by its thread only."""

    accepted: int = 0
    refused: int = 0
    """Connections that were reset as soon as they came."""
    cut: int = 0
    """Connections that were reset while open."""
    requests: int = 0
    """Chunks of bytes that reached the server."""
    late: int = 0
    """Of those, the ones that were forwarded after their client had gone."""
    dropped: int = 0
    """Chunks that were thrown away, requests and replies."""


@dataclass(frozen=True, slots=True)
class _Mode:
    kind: Kind
    seconds: float = 0.0
    cut: bool = True
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class _Link:
    """One client's connection; `broken` once bytes of it were thrown away."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    broken: bool = False


class Proxy:
    """A proxy on loopback and a free `port`, in front of `host`:`server_port`. A context manager.

    Every method may be called by any thread; a switch is in force when it returns. One thread, ended by `close`.
    """

    def __init__(self, host: str, server_port: int) -> None:
        self.counts = ProxyCounts()
        self._target = (host, server_port)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flapping: asyncio.Task[None] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._mode, self._kind = _Mode("pass"), "pass"
        self._thread = threading.Thread(target=self._run, name=f"chaos-proxy-{self.port}", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._call(asyncio.start_server(self._serve, sock=self._listener))

    @property
    def kind(self) -> str:
        """The mode that was asked for last."""
        return self._kind

    def switch(self, kind: Kind, **options: Any) -> None:
        """The mode `kind` by name, with the options of its method."""
        if kind not in KINDS:
            raise ValueError(f"no such mode: {kind!r}; known: {', '.join(KINDS)}")
        getattr(self, "pass_through" if kind == "pass" else kind)(**options)

    def pass_through(self) -> None:
        """Behave."""
        self._switch(_Mode("pass"))

    def refuse(self) -> None:
        """Reset open connections now and new ones at once."""
        self._switch(_Mode("refuse"))

    def hang(self) -> None:
        """Accept and keep everything unanswered; what was kept is delivered when the mode ends, as by a stopped server."""
        self._switch(_Mode("hang"))

    def drop(self) -> None:
        """A black hole: connections stay open, their bytes vanish in both directions."""
        self._switch(_Mode("drop"))

    def delay(self, seconds: float = 0.3) -> None:
        """Requests reach the server `seconds` later, also those whose client has given up."""
        self._switch(_Mode("delay", seconds))

    def lose_replies(self, *, cut: bool = True) -> None:
        """Requests get through, replies do not; the connection is then cut, or (`cut=False`) left hanging."""
        self._switch(_Mode("lose_replies", cut=cut))

    def flap(self, up: float = 0.2, down: float = 0.3) -> None:
        """Pass for `up` seconds and refuse for `down`, again and again."""
        self._switch(_Mode("refuse"), (up, down))

    def close(self) -> None:
        """Cut everything and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Private; everything below runs in the proxy's thread, except _call and _switch

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _switch(self, mode: _Mode, flap: tuple[float, float] | None = None) -> None:
        self._kind = "flap" if flap else mode.kind
        self._call(self._enter(mode, flap))

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _enter(self, mode: _Mode, flap: tuple[float, float] | None) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        self._become(mode)
        if flap:
            self._flapping = asyncio.create_task(self._flap(*flap))

    def _become(self, mode: _Mode) -> None:
        before, self._mode = self._mode, mode
        before.changed.set()
        for link in list(self._links):
            if mode.kind == "refuse" or (link.broken and mode.kind == "pass"):
                self._cut(link)

    async def _flap(self, up: float, down: float) -> None:
        while True:
            await asyncio.sleep(down)
            self._become(_Mode("pass"))
            await asyncio.sleep(up)
            self._become(_Mode("refuse"))

    async def _end(self) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
        self._server.close()
        for link in list(self._links):
            self._cut(link)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets one round after they were aborted
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.counts.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(client)
        self._links.add(link)
        try:
            if self._mode.kind == "refuse":
                self.counts.refused += 1
            else:
                await self._carry(link, reader)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the proxy ends
        finally:
            self._abort(link)
            self._links.discard(link)
            self._tasks.discard(task)

    async def _carry(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """Client to server, until the client is gone; the other direction in a task of its own."""
        back: asyncio.Task[None] | None = None
        try:
            while data := await reader.read(CHUNK):
                if not await self._let_through(link):
                    continue
                if link.server is None:
                    replies, link.server = await asyncio.open_connection(*self._target)
                    back = asyncio.create_task(self._answer(link, replies))
                link.server.write(data)
                await link.server.drain()
                self.counts.requests += 1
                self.counts.late += reader.at_eof()
            if link.server is not None:
                link.server.write_eof()  # not a reset: the server shall still read what was sent
                await asyncio.sleep(0.05)
        finally:
            if back is not None:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)

    async def _let_through(self, link: _Link) -> bool:
        """Hold a request as long as the mode says; False if it is to vanish."""
        if self._mode.kind == "delay":
            await asyncio.sleep(self._mode.seconds)
        while self._mode.kind == "hang":
            await self._mode.changed.wait()
        if self._mode.kind == "drop":
            link.broken = True
            self.counts.dropped += 1
            return False
        return True

    async def _answer(self, link: _Link, replies: asyncio.StreamReader) -> None:
        """Server to client."""
        while data := await replies.read(CHUNK):
            while self._mode.kind == "hang":
                await self._mode.changed.wait()
            if self._mode.kind in ("drop", "lose_replies"):
                link.broken = True
                self.counts.dropped += 1
                if self._mode.kind == "lose_replies" and self._mode.cut:
                    self._cut(link)
                continue
            link.client.write(data)
            await link.client.drain()
        self._abort(link)

    def _cut(self, link: _Link) -> None:
        self.counts.cut += 1
        self._abort(link)

    def _abort(self, link: _Link) -> None:
        """Reset the client's connection; a server's is closed in order, so that it reads what was sent."""
        sock = link.client.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        link.client.transport.abort()
        if link.server is not None:
            link.server.transport.abort()
