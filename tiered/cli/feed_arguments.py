"""The arguments of `tiered stat` and `tiered top`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def add_feed_arguments(command: Any, positive: Callable[[Callable[[str], Any]], Callable[[str], Any]]) -> None:
    """What to look at, and how often; `positive` makes an argument type for numbers above zero."""
    command.add_argument(
        "endpoints",
        nargs="*",
        metavar="ENDPOINT",
        help="metrics of a running process, as in http://127.0.0.1:9464/metrics; of several, summed",
    )
    command.add_argument("--interval", type=positive(float), default=1.0, metavar="SECONDS", help="default: 1")
    command.add_argument("--cache", metavar="NAME", help="only this cache, of those that the endpoint tells of")
    add_tls_arguments(command)


def add_tls_arguments(command: Any) -> None:
    command.add_argument("--ca", metavar="FILE", help="the certificate authority of an https endpoint")
    command.add_argument("--cert", metavar="FILE", help="the certificate and key that it asks for")
