"""URLs in their pieces, whatever urlsplit of this Python thinks of several hosts."""

from __future__ import annotations

import pytest

from tiered import ConfigError
from tiered.chain_url import record_of
from tiered.urls import pieces


@pytest.mark.parametrize(
    ("url", "scheme", "netloc", "path", "query"),
    [
        ("memory://", "memory", "", "", ""),
        ("memory://?max_entries=5", "memory", "", "", "max_entries=5"),
        ("file:./data?sync=full", "file", "", "./data", "sync=full"),
        ("file:///a//b", "file", "", "/a//b", ""),
        ("redis://u:p%2Fw@h:1/0?db=1", "redis", "u:p%2Fw@h:1", "/0", "db=1"),
        ("redis://[::1]:6379/0", "redis", "[::1]:6379", "/0", ""),
        ("redis://[fe80::1%25eth0]", "redis", "[fe80::1%25eth0]", "", ""),
        ("redis+sentinel://:pw@a,b:26380,[::1]/m/2", "redis+sentinel", ":pw@a,b:26380,[::1]", "/m/2", ""),
        ("redis+cluster://[::1]:7000,[::2]:7001", "redis+cluster", "[::1]:7000,[::2]:7001", "", ""),
        ("redis://[x]:secret@h", "redis", "[x]:secret@h", "", ""),
        ("localhost:6379", "localhost", "", "6379", ""),
        ("//host/x", "", "host", "/x", ""),
    ],
)
def test_pieces(url: str, scheme: str, netloc: str, path: str, query: str) -> None:
    assert pieces(url)[:4] == (scheme, netloc, path, query)


@pytest.mark.parametrize("host", ["[::1", "::1]", "[::1]x", "x[::1]", "[[::1]]", "a,[::1", "[]", "[::1]:80:[::2]"])
def test_brackets_that_enclose_no_address_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="IPv6"):
        pieces(f"redis://:hunter2@{host}:6379/0")


@pytest.mark.parametrize("url", ["file:", "file:///", "file:/", "file:////", "file:///?sync=normal"])
def test_a_file_without_a_directory_of_its_own_is_refused(url: str) -> None:
    """The root of the system is hardly meant: so ends `file:///$DATA` where DATA is not set, in a container as root."""
    with pytest.raises(ConfigError, match="file: needs a directory"):
        record_of(f"memory://,{url}")  # which builds nothing
