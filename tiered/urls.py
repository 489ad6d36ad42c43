"""URLs in their pieces, for those with several hosts, too."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from tiered.errors import ConfigError

_ADDRESS = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[^\[\]]*)(:[^\[\]]*)?")
"""A host, in brackets if it is an IPv6 address, and perhaps a port."""

_MALFORMED = "a tier URL has a malformed host; an IPv6 address is written redis://[::1]:6379/0"


def pieces(url: str) -> SplitResult:
    """`urlsplit`, but any list of hosts and IPv6 addresses passes; `ConfigError` for brackets that enclose no address.

    urlsplit itself decides by its release: since 2025 it refuses a bracket that is not where the host begins.
    """
    head, slashes, rest = url.partition("//")
    if not slashes or not head.endswith(":"):
        return _split(url)
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    if not all(map(_ADDRESS.fullmatch, rest[:end].rpartition("@")[2].split(","))):
        raise ConfigError(_MALFORMED)
    return _split(f"{head}//host{rest[end:]}")._replace(netloc=rest[:end])


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text shows what may be part of a password
        raise ConfigError(_MALFORMED) from None
