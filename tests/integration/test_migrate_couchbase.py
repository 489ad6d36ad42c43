"""`tiered migrate will-couchbase`: from documents as Will's own backend and its client had written them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.kv_range_scan import RangeScan
from couchbase.options import ClusterOptions
from couchbase.transcoder import Transcoder

from tests.couchbase_servers import REAL, CouchbaseMock, fresh, needs_a_real_server
from tests.servers import free_port
from tiered import TieredBackend
from tiered.cli import main
from tiered.integrations.will import couchbase_source
from tiered.tiers.couchbase_connection import Connection

JSON, BYTES, TEXT = 0x02000006, 0x03000002, 0x04000004
"""Flags as the Python client of those days wrote them; before, 0, 2 and 4, and 1 for a pickle."""
PICKLE, OLD_JSON, OLD_BYTES, OLD_TEXT = 1, 0, 2, 4
Migrate = Callable[..., tuple[int, dict[str, Any], str]]


class AsGiven(Transcoder):  # type: ignore[misc]  # the SDK's, untyped
    def encode_value(self, value: Any) -> tuple[bytes, int]:
        return value[0], value[1]

    def decode_value(self, value: bytes, flags: int) -> tuple[bytes, int]:
        return bytes(value), flags


@pytest.fixture
def bucket(couchbase_url: str) -> Iterator[Any]:
    """The collection that `couchbase_url` names."""
    address = couchbase_source.couchbase_address(couchbase_url)
    login = PasswordAuthenticator(address.user, address.password)
    cluster = Cluster(address.connection, ClusterOptions(login, enable_tracing=False, enable_metrics=False))
    yield cluster.bucket(address.bucket).scope(address.scope).collection(address.collection)
    cluster.close()


@pytest.fixture
def wills(bucket: Any) -> Iterator[dict[str, tuple[bytes, int]]]:
    """Documents under a name that no other test uses, and what else may lie in a bucket."""
    name = fresh()
    documents = {
        f"{name}:json": (b'"0f/bGlzdA==\\n"', JSON),
        f"{name}:old": (b'"0f/\\u00fc"', OLD_JSON),
        f"{name}:bytes": (b"\x80\x02a pickle", BYTES),
        f"{name}:old bytes": (b"\x80\x02a pickle", OLD_BYTES),
        f"{name}:text": (b"0f/dGV4dA==\n", TEXT),
        f"{name}:old text": (b"0f/dGV4dA==\n", OLD_TEXT),
        f"{name}:no flags": (b"0f/eA==\n", 0),
        f"{name}:a/b c\u00fc": (b'"key"', JSON),
        f"{name}:soon": (b'"soon"', JSON),
        f"{name}:another program's": (b'{"a": "b"}', JSON),
        f"{name}:number": (b"7", OLD_JSON),
        f"{name}:pickle": (b"cos\nabort\n(tR.", PICKLE),
        f"{name}:frame": (b"\xf5t of another prefix", BYTES),
    }
    for id, document in documents.items():
        expiry = timedelta(seconds=3600 if id.endswith("soon") else 0)
        bucket.upsert(id, document, transcoder=AsGiven(), expiry=expiry)
    yield documents
    for id in documents:
        bucket.remove(id)


@pytest.fixture
def migrate(
    couchbase_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Migrate:
    """Runs the command into `url`. CouchbaseMock does not tell of expiries: what it would say is said for it."""
    monkeypatch.delenv("TIERED_URL", raising=False)
    ends = time.time() + 3600
    if not REAL:
        told = lambda _, id: ends if id.endswith("soon") else None  # noqa: E731
        monkeypatch.setattr(couchbase_source, "expires_at", told)

    def run(*args: str, url: str = f"file:{tmp_path}/data", place: str = couchbase_url) -> tuple[int, Any, str]:
        code = main(["migrate", "will-couchbase", place, "--url", url, "--json", *args])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else {}, err

    return run


def keys_in(path: Path, documents: dict[str, tuple[bytes, int]], *more: str) -> str:
    path.write_text("\n".join([*documents, *more]), encoding="utf-8")
    return str(path)


VALUES = {
    "json": b"0f/bGlzdA==\n",
    "old": "0f/\u00fc".encode(),
    "bytes": b"\x80\x02a pickle",
    "old bytes": b"\x80\x02a pickle",
    "text": b"0f/dGV4dA==\n",
    "old text": b"0f/dGV4dA==\n",
    "no flags": b"0f/eA==\n",
    "a/b c\u00fc": b"key",
    "soon": b"soon",
}


def stored(url: str) -> dict[str, Any]:
    with TieredBackend.from_url(url, namespace="will") as store:
        values = dict(store.items())
        for key in values:
            left = store.ttl(key)
            assert left is not None and (3000 < left <= 3600 if key.endswith("soon") else left == float("inf"))
        return {key.partition(":")[2]: value for key, value in values.items()}


def test_the_keys_of_a_file_are_copied_as_will_had_saved_them(
    wills: dict[str, tuple[bytes, int]], migrate: Migrate, bucket: Any, tmp_path: Path
) -> None:
    keys = keys_in(tmp_path / "keys", wills, "not there", "tiered!generations", "")
    code, dry, _ = migrate("--keys", keys, "--dry-run")
    assert (code, dry["copied"], dry["verified"]) == (0, len(VALUES), 0) and stored(f"file:{tmp_path}/data") == {}
    code, outcome, err = migrate("--keys", keys)
    assert code == 0 and err == "" and outcome["complete"]
    assert outcome["copied"] == outcome["verified"] == len(VALUES)
    assert outcome["left_out"] == {
        "JSON, not of Will's": 2,
        "key of tiered": 2,
        "pickled by the client (Will saves text), and nothing is unpickled here": 1,
        "key of the list without a document": 1,
    }
    assert stored(f"file:{tmp_path}/data") == VALUES
    assert {id: bucket.get(id, transcoder=AsGiven()).value for id in wills} == wills, "the source is only read"
    Path(keys).write_text(json.dumps(list(wills)))
    code, again, _ = migrate("--keys", keys, "--match", "*:old*")
    assert code == 0 and (again["copied"], again["already_there"], again["verified"]) == (0, 3, 3)


def test_the_keys_may_be_the_whole_answer_to_a_query(
    wills: dict[str, tuple[bytes, int]], migrate: Migrate, tmp_path: Path
) -> None:
    """As cbq and the REST API give it. Its lines are no keys: each would be one that has no document."""
    answer = {"requestID": "1", "results": list(wills), "status": "success"}
    (tmp_path / "keys").write_text(json.dumps(answer, indent=4))
    code, outcome, err = migrate("--keys", str(tmp_path / "keys"))
    assert code == 0 and outcome["verified"] == len(VALUES), err


@pytest.mark.parametrize("content", ['{"errors": [{"code": 4000}]}', '[{"id": "a key"}]', '[["a key"]]', "{}"])
def test_json_that_lists_no_keys_is_refused(migrate: Migrate, tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    code, _, err = migrate("--keys", str(tmp_path / "keys"))
    assert code == 2 and "--keys" in err and "is JSON, but no list of keys" in err


def test_a_key_may_have_a_separator_of_unicode_in_it(bucket: Any, migrate: Migrate, tmp_path: Path) -> None:
    ids = [f"{fresh()}:a\u2028b", f"{fresh()}:a\x85b", f"{fresh()}:7"]
    for id in ids:
        bucket.upsert(id, "0f/x")
    (tmp_path / "keys").write_text("\r\n".join(ids), encoding="utf-8-sig", newline="")
    code, outcome, err = migrate("--keys", str(tmp_path / "keys"))
    for id in ids:
        bucket.remove(id)
    assert code == 0 and outcome["verified"] == 3 and outcome["left_out"] == {}, err


def test_into_the_same_bucket_which_cannot_be_listed(
    wills: dict[str, tuple[bytes, int]], migrate: Migrate, couchbase_url: str, tmp_path: Path
) -> None:
    url = f"{couchbase_url}?prefix={fresh()}&timeout=2s"
    code, outcome, err = migrate("--keys", keys_in(tmp_path / "keys", wills), url=url)
    assert code == 0 and outcome["verified"] == len(VALUES), err
    with TieredBackend.from_url(url, namespace="will") as store:
        found = store.get_many(wills)
        assert {key.partition(":")[2]: value for key, value in found.items()} == VALUES
        first = next(iter(wills))
        store.set(first, b"newer")
    code, outcome, _ = migrate("--keys", str(tmp_path / "keys"), url=url)
    assert (code, outcome["different_keys"], outcome["verified"]) == (1, [first], len(VALUES) - 1)


class WithScan(Connection):
    """To CouchbaseMock, with the range scan of a real server: here, of `there`."""

    there: Sequence[str] = ()

    def collection(self, *, write: bool) -> Any:
        found = super().collection(write=write)
        found.scan = self._scan  # of this object alone
        return found

    def _scan(self, kind: Any, *, ids_only: bool) -> Iterator[Any]:
        assert isinstance(kind, RangeScan) and ids_only
        return (SimpleNamespace(id=id) for id in self.there)


@pytest.mark.parametrize("real", [False, True], ids=["a scan of our own", "a real one"])
def test_all_of_a_bucket_by_a_range_scan(
    wills: dict[str, tuple[bytes, int]], migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    if real:
        needs_a_real_server("range scan")
    else:
        gone = f"{next(iter(wills)).partition(':')[0]}:expired since"
        monkeypatch.setattr(WithScan, "there", [*wills, gone, "another application's"])
        monkeypatch.setattr(couchbase_source, "Connection", WithScan)
    name = next(iter(wills)).partition(":")[0]
    code, outcome, err = migrate("--match", f"{name}:*")
    assert code == 0 and outcome["verified"] == len(VALUES), err
    assert sum(outcome["left_out"].values()) == len(wills) - len(VALUES)
    assert stored(f"file:{tmp_path}/data") == VALUES


def test_what_cannot_be_done_is_told_and_how_it_can(
    wills: dict[str, tuple[bytes, int]], migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = migrate(place=f"couchbase://u:hush@127.0.0.1:{free_port()}")
    assert code == 2 and "COUCHBASE_URL cannot be read" in err and "hush" not in err
    code, _, err = migrate("--keys", str(tmp_path / "nowhere"))
    assert code == 2 and "--keys" in err and "cannot be read: No such file" in err
    if not REAL:
        code, _, err = migrate()
        assert code == 3 and "needs a range scan, which Couchbase Server offers from version 7.6 on" in err
        assert "--keys FILE" in err
        monkeypatch.undo()
        code, _, err = migrate("--keys", keys_in(tmp_path / "keys", wills))
        assert code == 3 and "does not tell when a document expires" in err, "a guess would be: for ever"


def test_a_server_that_stops_in_the_middle_and_a_second_run(
    couchbase_mock: CouchbaseMock, migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = couchbase_source.couchbase_address(couchbase_mock.url)
    login = PasswordAuthenticator(address.user, address.password)
    cluster = Cluster(address.connection, ClusterOptions(login, enable_tracing=False, enable_metrics=False))
    ids = [f"key {n}" for n in range(250)]
    for id in ids:
        cluster.bucket(address.bucket).default_collection().upsert(id, id)
    cluster.close()

    def stops(_: Any, id: str) -> None:
        if id == "key 220":
            couchbase_mock.freeze()

    monkeypatch.setattr(couchbase_source, "TIMEOUT", 1.0)
    (tmp_path / "keys").write_text(json.dumps(ids))
    with monkeypatch.context() as patched:
        patched.setattr(couchbase_source, "expires_at", stops)
        code, _, err = migrate("--keys", str(tmp_path / "keys"), place=couchbase_mock.url)
    assert code == 3 and "no answer in time" in err
    couchbase_mock.thaw()
    code, outcome, err = migrate("--keys", str(tmp_path / "keys"), place=couchbase_mock.url)
    assert code == 0 and (outcome["already_there"], outcome["copied"], outcome["verified"]) == (200, 50, 250), err
