"""No password and no key in any message, log, repr, health or statistics, whatever goes wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer, free_port
from tiered import ConfigError, FileTier, MemoryTier, RedisTier, TieredBackend, TieredError
from tiered.codecs.keys import new_key
from tiered.testing.contract import put

PASSWORD, KEY = "hunter2hunter2", new_key("k")
SECRETS = (PASSWORD, KEY.partition(":")[2])


@pytest.fixture
def server() -> Iterator[Callable[..., RedisServer]]:
    servers: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        servers.append(RedisServer(*options))
        return servers[-1]

    yield start
    for it in servers:
        it.stop()


def urls(server: Callable[..., RedisServer]) -> list[str]:
    """Every way to go wrong with a password in the URL."""
    wrong = server("--requirepass", "another").port
    unable = server("--rename-command", "AUTH", "").port
    crippled = server(
        "--rename-command", "EVALSHA", "", "--rename-command", "EVAL", "", "--rename-command", "GET", ""
    ).port
    nobody = free_port()
    at = f"{PASSWORD}@127.0.0.1"
    return [
        f"redis://:{at}:{wrong}/0",
        f"redis://user:{at}:{wrong}/0",
        f"redis://:{at}:{unable}/0",
        f"redis://127.0.0.1:{crippled}/0",
        f"redis://:{at}:{nobody}/0",
        f"redis://:{PASSWORD}@no.such.host.invalid:{nobody}/0",
        f"rediss://:{at}:{wrong}/0",
        f"redis+sentinel://:{at}:{nobody}/mymaster?sentinel_password={PASSWORD}",
        f"redis+cluster://:{at}:{wrong},127.0.0.1:{nobody}",
    ]


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_nothing_shows_a_password_or_a_key(
    server: Callable[..., RedisServer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BOT_KEYS", KEY)
    said: list[Any] = []
    for n, url in enumerate(urls(server)):
        tier = RedisTier(url)
        directory = tmp_path / str(n)
        with TieredBackend([MemoryTier(), tier, FileTier(directory)], keys="env:BOT_KEYS") as store:
            store.set("k", PASSWORD)
            said += [
                store.get("absent"),
                store.health(),
                store.stats(),
                repr(store),
                repr(tier),
                *vars(store._core.chain.rules.ring).values(),
            ]
            said.append(store.verify().as_dict()["ok"])
            for act in (
                tier.probe,
                lambda t=tier: t.get("n:1", "k"),
                lambda t=tier: put(t, "n:1", "k", PASSWORD.encode()),
            ):
                try:
                    act()
                except TieredError as error:
                    said.append(shown(error))
    text = repr(said) + caplog.text
    assert len(text) > 5000 and not any(secret in text for secret in SECRETS), next(
        text[max(0, text.find(s) - 200) : text.find(s) + 100] for s in SECRETS if s in text
    )


def test_a_chain_in_the_place_of_a_file_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError, match="from_url") as caught:
        TieredBackend.from_config(f"memory://,redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    assert PASSWORD not in shown(caught.value)
