"""The encryption of tiered beneath Will: what stands in the tiers tells nothing, and another key replaces nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.couchbase_servers import CouchbaseMock
from tests.servers import RedisServer
from tests.will.minds import Mind, environment
from tiered.codecs.keys import new_key

pytestmark = pytest.mark.will
SECRET = "m" * 60
READABLE = b"bW1t" * 10
"""How Will, with its own encryption off, writes that down: in base64, here the same from whichever byte it begins."""


def written(directory: Path, server: RedisServer) -> bytes:
    """Everything that stands in the directory and in Redis."""
    with redis.Redis.from_url(server.url) as client:
        values = [client.get(key) or b"" for key in client.scan_iter(_type="string")]
    return b"".join([*values, *(path.read_bytes() for path in directory.iterdir() if path.is_file())])


@pytest.mark.parametrize("wills_own", [True, False])
def test_nothing_can_be_read_in_redis_or_on_the_disk(
    redis_server: RedisServer, tmp_path: Path, wills_own: bool
) -> None:
    config = (
        f"TIERED_URL = '{redis_server.url},file:{tmp_path}/data'\nENABLE_INTERNAL_ENCRYPTION = {wills_own}\n"
        "TIERED_COMPRESS_ABOVE = '1kb'\n"
    )
    with Mind(tmp_path / "bot", f"{config}TIERED_NAMESPACE = 'plain'\n") as mind:
        mind(f"mind.save('list', [{SECRET!r}])")
    assert (READABLE in written(tmp_path / "data", redis_server)) is not wills_own, "else this would show nothing"
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    config = config.replace("/data", "/sealed") + "TIERED_KEYS = 'env:BOT_KEYS'\n"
    with Mind(tmp_path / "bot", config, BOT_KEYS=new_key("may")) as mind:
        mind(f"mind.save('list', [{SECRET!r}]), mind.append('list', 'x' * 5000), atomic.append('list', 1)")
        assert mind("mind.load('list')") == [SECRET, "x" * 5000, 1] and mind.log == ""
        assert mind("mind.storage._store.lookup('list').tier") == "redis"
        assert mind("mind.size()").startswith("1 keys, ")
        found = written(tmp_path / "sealed", redis_server)
        assert found and READABLE not in found and b"x" * 100 not in found


def test_with_another_key_a_list_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    config = f"TIERED_URL = 'file:{tmp_path}/data'\nTIERED_KEYS = 'env:BOT_KEYS'\n"
    key = new_key("may")
    with Mind(tmp_path / "bot", config, BOT_KEYS=key) as mind:
        mind("mind.save('list', [1, 2, 3])")
    with Mind(tmp_path / "bot", config, BOT_KEYS=new_key("june")) as mind:
        assert mind("mind.load('list', 'none')") == "none"
        mind("mind.append('list', 4)")
        assert "its last load here failed" in mind.log and "Unable to save" in mind.log
    with Mind(tmp_path / "bot", config, BOT_KEYS=f"{new_key('june')}\n{key}") as mind:
        mind("mind.append('list', 4)")
        assert mind.log == "" and mind("mind.load('list')") == [1, 2, 3, 4], "the old key still reads"


def test_from_plain_to_encrypted_as_the_page_says(tmp_path: Path) -> None:
    config, keys = f"TIERED_URL = 'file:{tmp_path}/data'\n", tmp_path / "keys"
    with Mind(tmp_path / "bot", config) as mind:
        mind("mind.save('list', [1])")
    keys.touch(mode=0o600)
    keys.write_text(new_key("may"))
    config += f"TIERED_KEYS = 'file:{keys}'\n"
    with Mind(tmp_path / "bot", f"{config}TIERED_MIGRATE = True\n") as mind:
        assert mind("mind.load('list')") == [1] and mind.log == ""
    place = environment(TIERED_URL=f"file:{tmp_path}/data", TIERED_KEYS=f"file:{keys}", TIERED_MIGRATE="true")
    command = [sys.executable, "-m", "tiered.cli", "rekey", "--namespace", "will"]
    subprocess.run(command, check=True, env=place, stdout=subprocess.DEVNULL)
    with Mind(tmp_path / "bot", config) as mind:
        mind("mind.append('list', 2)")
        assert mind.log == "" and mind("mind.load('list')") == [1, 2]


def test_documents_of_couchbase_tell_nothing_either(couchbase_mock: CouchbaseMock, tmp_path: Path) -> None:
    config = f"COUCHBASE_URL = 'couchbase://127.0.0.1:{couchbase_mock.port}/default'\nPUBSUB_BACKEND = 'zeromq'\n"
    config += "ENABLE_INTERNAL_ENCRYPTION = False\n"
    bodies = []
    for more in ("", "TIERED_KEYS = 'env:BOT_KEYS'\nTIERED_NAMESPACE = 'sealed'\n"):
        with Mind(tmp_path / "bot", config + more, BOT_KEYS=new_key("may")) as mind:
            mind(f"mind.save('list', [{SECRET!r}])")
            assert mind.log == "" and mind("mind.load('list')") == [SECRET]
            bodies.append(body_of(mind))
    plain, sealed = bodies
    assert READABLE in plain and sealed and READABLE not in sealed


def body_of(mind: Mind) -> bytes:
    """The document of the key `list`, as the tier's own link fetches it."""
    record = "mind.storage._store._core.chain.record._record"
    start = f"{record}._start(mind.storage._store._core.space.name, {record}._generations.state())"
    body: Any = mind(f"{record}._link.fetch({start} + 'list').body")
    return bytes(body)
