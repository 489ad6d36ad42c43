"""Background expiry of a file tier."""

from __future__ import annotations

import threading

import pytest

from tiered.tiers.file_expiry import Expiry


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expiry, before = Expiry(lambda: 0, "file"), threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        expiry.start()
    assert threading.active_count() == before
    expiry.start()
    assert threading.active_count() == before + 1
    expiry.stop()
    assert threading.active_count() == before
