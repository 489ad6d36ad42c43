"""RedisTier over TLS and over a unix socket: certificates that are checked, and what is told when they do not hold."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme
from cryptography.hazmat.primitives import serialization

from tests.redis_topologies import TlsSentinel, TlsServer, authority_file, eventually
from tests.servers import RedisServer, free_port
from tests.signals import ticking
from tiered import RedisTier, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.errors import ConfigError, NotApplied, Reason, StoreUnavailable
from tiered.testing.contract import put

SCOPE = "n:1"
SLOW = 5.0
FRAME = draft(namespace_seed("n"), "k", b"v", 1).seal(1)
BOT = ("--user", "bot", "on", "~*", "&*", "+@all")
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    return quote(str(authority_file(authority, tmp_path)))


@pytest.fixture
def start(authority: trustme.CA) -> Iterator[Callable[..., TlsServer]]:
    """Servers with a certificate of the authority for 127.0.0.1, unless told otherwise."""
    servers: list[TlsServer] = []

    def begin(*options: str, certificate: trustme.LeafCert | None = None, clients: bool = False) -> TlsServer:
        leaf = certificate or authority.issue_cert("127.0.0.1")
        servers.append(TlsServer(authority, leaf, *options, clients=clients))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


def works(url: str) -> None:
    tier = RedisTier(url, timeout=SLOW, connect_timeout=SLOW)
    assert put(tier, SCOPE, "k", FRAME) and tier.get(SCOPE, "k") == FRAME and tier.get_many(SCOPE, ["k"]) == [FRAME]
    assert tier.probe() and tier.health().ok
    subscription = tier.subscribe()
    subscription.add("n")
    eventually(lambda: "subscribed" in [told.kind for told in subscription.receive()])
    subscription.close()
    tier.close()


def test_a_certificate_of_the_authority_is_accepted(start: Callable[..., TlsServer], ca: str) -> None:
    works(f"{start().url}?ssl_ca_certs={ca}")


def test_a_relative_path_of_a_certificate_is_one_wherever_the_process_goes(
    start: Callable[..., TlsServer], ca: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tier = RedisTier(f"{start().url}?ssl_ca_certs={Path(ca).name}", timeout=SLOW, connect_timeout=SLOW)
    monkeypatch.chdir("/")
    assert tier.probe()
    tier.close()


def test_the_name_of_the_host_is_what_a_certificate_must_be_for(
    authority: trustme.CA, start: Callable[..., TlsServer], ca: str
) -> None:
    server = start(certificate=authority.issue_cert("localhost"))
    works(f"{server.url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={ca}")


def test_values_larger_than_a_record_of_tls_come_whole(start: Callable[..., TlsServer], ca: str) -> None:
    frame = draft(namespace_seed("n"), "k", b"x" * 3_000_000, 1).seal(1)
    tier = RedisTier(f"{start().url}?ssl_ca_certs={ca}", timeout=SLOW, connect_timeout=SLOW)
    assert put(tier, SCOPE, "k", frame) and tier.get(SCOPE, "k") == frame
    tier.close()


def test_signals_do_not_prolong_the_wait_for_a_server_that_hangs(start: Callable[..., TlsServer], ca: str) -> None:
    server = start()
    tier = RedisTier(f"{server.url}?ssl_ca_certs={ca}", timeout=1.0, connect_timeout=SLOW)
    put(tier, SCOPE, "k", FRAME)
    server.freeze()
    with ticking(), pytest.raises(StoreUnavailable) as failed:
        tier.get(SCOPE, "k")
    assert failed.value.reason is Reason.TIMEOUT
    tier.close()


@pytest.mark.parametrize("login", ["", ":s3cret@"])
def test_a_plain_url_of_a_server_that_wants_tls_says_so(start: Callable[..., TlsServer], login: str) -> None:
    tier = RedisTier(start().url.replace("rediss://", f"redis://{login}"), timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match="wants TLS: rediss://"):
        tier.get(SCOPE, "k")
    tier.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("authority", "self-signed certificate in certificate chain|unable to get local issuer"),
        ("host", "not valid for '127.0.0.1'|mismatch"),
        ("expired", "expired"),
    ],
)
def test_a_certificate_that_does_not_hold_degrades_with_the_reason(
    start: Callable[..., TlsServer], authority: trustme.CA, ca: str, tmp_path: Path, fault: str, told: str
) -> None:
    certificate = {
        "authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "host": lambda: authority.issue_cert("redis.example"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=YESTERDAY),
    }[fault]()
    url = f"{start(certificate=certificate).url}?ssl_ca_certs={ca}"
    tier = RedisTier(url, timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match=told) as read:
        tier.get(SCOPE, "k")
    with pytest.raises(NotApplied, match="ssl_ca_certs") as written:
        put(tier, SCOPE, "k", FRAME)
    assert read.value.reason is written.value.reason is Reason.CONNECTION
    assert not tier.health().ok
    tier.close()
    with TieredBackend.from_url(f"memory://,{url},file:{tmp_path}/data") as store:
        assert store.set("k", 1).tiers["redis"] == "queued" and store.get("k") == 1


def test_a_server_that_does_not_speak_tls_degrades(redis_url: str) -> None:
    tier = RedisTier(redis_url.replace("redis://", "rediss://"), timeout=0.3)
    with pytest.raises(StoreUnavailable) as caught:
        tier.get(SCOPE, "k")
    assert caught.value.reason in (Reason.CONNECTION, Reason.TIMEOUT)
    assert "plain redis://" in str(caught.value)
    tier.close()


def test_no_check_is_left_out_unless_told(start: Callable[..., TlsServer]) -> None:
    url = start(certificate=trustme.CA().issue_cert("redis.example")).url
    for query in ("ssl_cert_reqs=none", "ssl_check_hostname=false"):
        with pytest.raises(ConfigError, match="insecure_tls"):
            RedisTier(f"{url}?{query}")
    tier = RedisTier(f"{url}?ssl_cert_reqs=none", insecure_tls=True, timeout=SLOW, connect_timeout=SLOW)
    assert put(tier, SCOPE, "k", FRAME)
    tier.close()


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("ssl_cert_reqs=maybe", "required, optional or none"),
        ("ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs.*not there"),
        ("ssl_min_version=TLSv1.3", "772"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(query: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        RedisTier(f"rediss://:s3cret@127.0.0.1/0?{query}")


def test_a_client_certificate_is_shown_if_asked_for(
    start: Callable[..., TlsServer], authority: trustme.CA, ca: str, tmp_path: Path
) -> None:
    server, mine = start(clients=True), authority.issue_cert("bot@tiered.example")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "bot.pem")
    pem = quote(str(tmp_path / "bot.pem"))
    works(f"{server.url}?ssl_ca_certs={ca}&ssl_certfile={pem}&ssl_keyfile={pem}&ssl_min_version=772")
    for version in ("771", "772"):
        tier = RedisTier(
            f"{server.url}?ssl_ca_certs={ca}&ssl_min_version={version}", timeout=SLOW, connect_timeout=SLOW
        )
        with pytest.raises(StoreUnavailable, match="wants a certificate of this client: ssl_certfile="):
            tier.get(SCOPE, "k")
        tier.close()


@pytest.mark.parametrize(
    ("protocols", "query", "told"),
    [("TLSv1.2", "", "wants a certificate of this client"), ("TLSv1.2", "&ssl_min_version=772", "ssl_min_version=")],
)
def test_a_handshake_that_the_server_refuses_says_what_it_may_want(
    start: Callable[..., TlsServer], ca: str, protocols: str, query: str, told: str
) -> None:
    server = start("--tls-protocols", protocols, clients=True)
    tier = RedisTier(f"{server.url}?ssl_ca_certs={ca}{query}", timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match=told):
        tier.get(SCOPE, "k")
    tier.close()


def test_files_and_ciphers_that_no_connection_could_use_are_refused_at_once(
    authority: trustme.CA, ca: str, tmp_path: Path
) -> None:
    """A connection would fail with "check that the server runs", and one with an encrypted key ask the terminal."""
    mine, other = authority.issue_cert("bot@tiered.example"), authority.issue_cert("else@tiered.example")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"s3cret")
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "hidden.pem").write_bytes(key.private_bytes(pem, kind, hidden))
    (tmp_path / "text.pem").write_text("no certificate")
    place = quote(str(tmp_path))
    cert = f"ssl_certfile={place}/cert.pem"
    for query, told in (
        (f"ssl_ca_certs={place}/text.pem", "ssl_ca_certs .*no certificate"),
        (f"ssl_ca_certs={place}", "ssl_ca_certs "),
        (cert, "ssl_certfile, ssl_keyfile"),
        (f"{cert}&ssl_keyfile={place}/other.pem", "ssl_certfile, ssl_keyfile"),
        (f"{cert}&ssl_keyfile={place}/hidden.pem", "ssl_certfile, ssl_keyfile or ssl_password"),
        (f"{cert}&ssl_keyfile={place}/hidden.pem&ssl_password=wr0ng", "ssl_certfile, ssl_keyfile or ssl_password"),
        (f"ssl_keyfile={place}/other.pem", "ssl_keyfile .* needs ssl_certfile"),
        ("ssl_ciphers=NONE-SUCH", "ssl_ciphers "),
        ("ssl_ca_data=nothing", "ssl_ca_data "),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            RedisTier(f"rediss://:hush@127.0.0.1/0?{query}")
        assert "hush" not in str(refused.value) and "wr0ng" not in str(refused.value)
    RedisTier(
        f"rediss://127.0.0.1/0?ssl_ca_certs={ca}&{cert}&ssl_keyfile={place}/hidden.pem&ssl_password=s3cret"
    ).close()


def test_a_user_and_a_password_with_every_character(start: Callable[..., TlsServer], ca: str) -> None:
    password = "p@ss:w/rd?&#%,é"
    server = start(*BOT, f">{password}", "--user", "default", "off")
    tls = f"ssl_ca_certs={ca}"
    user = f"bot:{quote(password, safe='')}"
    works(f"rediss://{user}@127.0.0.1:{server.port}/0?{tls}")
    tier = RedisTier(f"{server.url.replace('//', '//bot:wr0ng@')}?{tls}", timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable) as caught:
        tier.get(SCOPE, "k")
    assert caught.value.reason is Reason.AUTH and "wr0ng" not in str(caught.value)
    tier.close()


def test_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    server = RedisServer("--unixsocket", str(socket), "--requirepass", "s3cret")
    try:
        works(f"unix://:s3cret@{socket}?db=2")
        with TieredBackend.from_url(f"memory://,unix://:s3cret@{socket},file:{tmp_path}/data") as store:
            eventually(lambda: store.set("k", 1).tiers["redis"] == "ok")
    finally:
        server.stop()


def test_sentinels_and_their_master_over_tls(start: Callable[..., TlsServer], authority: trustme.CA, ca: str) -> None:
    master = start("--requirepass", "s3cret", "--tls-replication", "yes")
    certificate = authority.issue_cert("127.0.0.1")
    monitor = f"sentinel monitor theirs 127.0.0.1 {master.port} 1\nsentinel auth-pass theirs s3cret\n"
    sentinel = TlsSentinel(authority, certificate, f"{monitor}requirepass s3ntinel\n")
    try:
        url = f"rediss+sentinel://:s3cret@127.0.0.1:{sentinel.port}/theirs/0?ssl_ca_certs={ca}"
        works(f"{url}&sentinel_password=s3ntinel")
        tier = RedisTier(f"{url}&sentinel_password=wr0ng", timeout=SLOW, connect_timeout=SLOW)
        with pytest.raises(StoreUnavailable) as caught:
            tier.get(SCOPE, "k")
        assert "wr0ng" not in str(caught.value)
        tier.close()
    finally:
        sentinel.stop()


def test_a_cluster_over_tls_with_a_user(start: Callable[..., TlsServer], ca: str, tmp_path: Path) -> None:
    bus = str(free_port())
    node = start("--cluster-enabled", "yes", "--cluster-port", bus, "--tls-cluster", "yes", *BOT, ">pw")
    with redis.Redis(port=node.port, host="127.0.0.1", ssl=True, ssl_ca_certs=str(tmp_path / "authority.pem")) as raw:
        raw.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: raw.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    works(f"rediss+cluster://bot:pw@127.0.0.1:{node.port}?ssl_ca_certs={ca}")
