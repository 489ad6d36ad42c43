"""The benchmark of frames measures what it says."""

from __future__ import annotations

from benchmarks.codecs import SIZE, WAYS, measure, payload


def test_every_way_is_measured_and_opens_what_it_made() -> None:
    found = measure(rounds=2, calls=20)
    assert list(found) == list(WAYS) and all(fastest > 0 for fastest, _, _ in found.values())
    sizes = {name: size for name, (_, _, size) in found.items()}
    assert len(payload()) == SIZE == sizes["plain"] - 33
    assert sizes["compressed"] < sizes["encrypted, compressed"] < sizes["plain"] < sizes["signed"] < sizes["encrypted"]
