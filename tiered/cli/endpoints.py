"""The metrics endpoints of running processes, read over HTTP."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence
from threading import Thread
from time import monotonic
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

from tiered.cli.series import Series
from tiered.errors import ConfigError, Reason, StoreUnavailable

PATIENCE = 2.0
"""Seconds for one wait."""
LONGEST = 5.0
"""Seconds for an answer, however many waits it takes."""
LARGEST = 64 * 2**20
CHUNK = 65_536
EXAMPLE = "http://127.0.0.1:9464/metrics"
_TO_DO = {
    "CERTIFICATE_VERIFY_FAILED": "give --ca, the file of who signs its certificate, and the name or address that is in there",
    "CERTIFICATE_REQUIRED": "it wants to know who asks: give --cert, a file of a certificate and its key",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: write http://",
}
"""For what is in the reason; else it may not be there."""
_HUNG_UP = ("reset by peer", "closed connection without response", "EOF occurred")
_OF_ANOTHER_KIND = {
    "http": "if it speaks TLS, write https://",
    "https": "it may want to know who asks: give --cert, a file of a certificate and its key",
}
"""For an endpoint that hung up without a word."""


_Answer = tuple[str | None, str]
_TOO_SLOW: _Answer = None, f"no answer (not all of it within {LONGEST:g} s)"


class Endpoints:
    """One or more of them, seen as one: the processes of a bot. `ca`: a file with their certificate authority;
    `cert`: one with the certificate and the key that they ask for."""

    def __init__(self, urls: Sequence[str], *, ca: str | None = None, cert: str | None = None) -> None:
        self.urls = list(dict.fromkeys(_checked(url) for url in urls))
        self._opener = _opener(ca, cert)
        self.silent: dict[str, str] = {}
        """Those that did not answer the last time, and why."""
        self._asking: dict[str, Thread] = {}

    def look(self) -> Series:
        """What they expose now. Raises `StoreUnavailable` if none answers."""
        answers = self._answers()
        self.silent = {url: why for url, (text, why) in answers.items() if text is None}
        texts = {url: text for url, (text, _) in answers.items() if text is not None}
        if not texts:
            url, why = next(iter(self.silent.items()))
            absent = "is the process running, and is this the address of serve_metrics?"
            to_do = _OF_ANOTHER_KIND[urlsplit(url).scheme] if any(part in why for part in _HUNG_UP) else absent
            to_do = next((it for part, it in _TO_DO.items() if part in why), to_do)
            raise StoreUnavailable(f"{why}; {to_do}", tier=url)
        try:
            return Series(texts)
        except (ValueError, KeyError, IndexError) as error:
            message = "what it answers is not in Prometheus' text format"
            raise StoreUnavailable(message, tier=next(iter(texts)), reason=Reason.SERIALIZATION) from error

    def _answers(self) -> dict[str, _Answer]:
        """Of each, within `LONGEST`. Ctrl-C ends the wait: no thread is waited for that reads what may never end."""
        answers: dict[str, _Answer] = {}

        def ask(url: str) -> None:
            answers[url] = self._ask(url)

        for url in self.urls:
            if url not in self._asking or not self._asking[url].is_alive():  # one that trickles is asked once
                self._asking[url] = Thread(target=ask, args=(url,), name="tiered-ask", daemon=True)
                self._asking[url].start()
        until = monotonic() + LONGEST
        for thread in self._asking.values():
            thread.join(max(0.0, until - monotonic()))
        return {url: answers.get(url, _TOO_SLOW) for url in self.urls}

    def _ask(self, url: str) -> _Answer:
        """The exposition, or None and why there is none."""
        until, body = monotonic() + LONGEST, bytearray()
        try:
            with self._opener.open(url, timeout=PATIENCE) as answer:
                while len(body) <= LARGEST and (part := answer.read1(CHUNK)):
                    body += part
                    if monotonic() > until:
                        return _TOO_SLOW
                if answer.length:  # a part of the series would be taken for all there are
                    return None, "it hung up in the middle of its answer"
        except URLError as error:
            return None, f"no answer ({_why(error.reason)})"
        except (OSError, http.client.HTTPException) as error:
            return None, f"no answer ({_why(error)})"
        return (None, "its answer is too long") if len(body) > LARGEST else (body.decode(errors="replace"), "")


def _checked(url: str) -> str:
    """`url`, made complete where only a host and a port are given."""
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        there = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        there = None
    if not there:
        raise ConfigError(f"{url!r:.80} is no metrics endpoint; give a URL such as {EXAMPLE}")
    return whole if parts.path else f"{whole}/metrics"


def _opener(ca: str | None, cert: str | None) -> OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert)
    except OSError as error:  # an SSLError is one
        raise ConfigError(f"--ca or --cert cannot be used: {_why(error)}") from error
    return build_opener(ProxyHandler({}), HTTPSHandler(context=context))  # endpoints are near: no proxy knows them


def _why(error: object) -> str:
    """Without the number that the system gives it."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
