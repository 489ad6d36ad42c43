"""Redis as Sentinel, as Cluster and with TLS: real processes on loopback and free ports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import trustme
from redis.crc import key_slot

from tests import waiting
from tests.servers import RedisServer, free_port

NODE_TIMEOUT = 1000
"""Milliseconds until a cluster node counts as gone."""
PROMPT = ("--repl-diskless-sync-delay", "0")
"""A replica is served at once."""
QUICK = ("info-period", 300, "ping-period", 200, "ask-period", 200, "publish-period", 200, "tilt-trigger", 60_000)
"""How often a sentinel looks around, in ms; a loaded machine must not look like a jump of the clock."""


def eventually(true: Callable[[], object]) -> None:
    """As `tests.waiting.eventually`; an error of Redis says "not yet"."""

    def so() -> object:
        try:
            return true()
        except redis.RedisError:
            return False

    waiting.eventually(so)


class RedisSentinels:
    """A master, its replica, and three sentinels that watch over them."""

    service = "mymaster"

    def __init__(self, *options: str) -> None:
        self.master = RedisServer(*PROMPT, *options)
        self.replica = RedisServer("--replicaof", f"127.0.0.1 {self.master.port}", *options)
        self.sentinels = [SentinelServer(self.service, self.master.port) for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{self.service}/0"
        eventually(self._complete)

    def _complete(self) -> bool:
        with redis.Redis(port=self.replica.port) as client:
            synchronised = client.info("replication")["master_link_status"] == "up"
        return synchronised and all(sentinel.sees(self.service) for sentinel in self.sentinels)

    def stop(self) -> None:
        for server in (*self.sentinels, self.replica, self.master):
            server.stop()


class SentinelServer(RedisServer):
    """redis-server as a sentinel."""

    def __init__(self, service: str, master_port: int) -> None:
        self._config = (
            f"sentinel monitor {service} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {service} 1000\n"
            f"sentinel failover-timeout {service} 5000\n"
        )
        super().__init__()
        with redis.Redis(port=self.port) as client:
            client.execute_command("SENTINEL", "DEBUG", *QUICK)

    def _arguments(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():  # afterwards it is the sentinel's own
            file.write_text(f"bind 127.0.0.1\nport {self.port}\ndir {self.directory}\n{self._config}")
        return [str(file), "--sentinel"]

    def sees(self, service: str) -> bool:
        """Whether it knows the replica and the two other sentinels."""
        with redis.Redis(port=self.port) as client:
            state: Any = client.sentinel_masters()[service]
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)


class RedisCluster:
    """`masters` masters that share the slots, the first `replicas` of them with a replica."""

    def __init__(self, masters: int = 3, replicas: int = 0, *options: str) -> None:
        self._options = options
        self._servers: list[RedisServer] = []
        self._bus: dict[int, int] = {}
        self.masters = [self._node() for _ in range(masters)]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.masters)
        share = -(-16384 // masters)
        for n, server in enumerate(self.masters):
            self.ask(server, "CLUSTER", "ADDSLOTSRANGE", n * share, min(16384, (n + 1) * share) - 1)
            self.ask(server, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        self.replicas = [self._node() for _ in range(replicas)]
        self._join(*self.masters[1:], *self.replicas)
        for replica, master in zip(self.replicas, self.masters, strict=False):
            self.ask(replica, "CLUSTER", "REPLICATE", self.id_of(master))
            with redis.Redis(port=replica.port) as client:
                eventually(lambda client=client: client.info("replication").get("master_link_status") == "up")

    def add(self) -> RedisServer:
        """A master without slots."""
        server = self._node()
        self._join(server)
        return server

    def whole(self) -> bool:
        """Whether every node sees every other well."""
        return all(self._agrees(server) for server in self._servers)

    def _join(self, *servers: RedisServer) -> None:
        for server in servers:
            self.ask(self.masters[0], "CLUSTER", "MEET", "127.0.0.1", server.port, self._bus[server.port])
        eventually(self.whole)

    def _agrees(self, server: RedisServer) -> bool:
        with redis.Redis(port=server.port) as client:
            info = client.execute_command("CLUSTER INFO")
            lines = client.execute_command("CLUSTER NODES")
        healthy = not any("fail" in it["flags"] or "handshake" in it["flags"] for it in lines.values())
        return info["cluster_state"] == "ok" and len(lines) == len(self._servers) and healthy

    def ask(self, server: RedisServer, *command: Any) -> Any:
        """A command to one node, which does not redirect it; the reply as it comes."""
        with redis.Redis(port=server.port, socket_timeout=10, retry=None) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def id_of(self, server: RedisServer) -> str:
        name: bytes = self.ask(server, "CLUSTER", "MYID")
        return name.decode()

    def owner(self, key: str) -> RedisServer:
        """Of the nodes that the test knows, the master that has the slot of `key`."""
        slot = key_slot(key.encode())
        for first, last, (_, port, *_rest), *_replicas in self.ask(self._alive(), "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(it for it in self._servers if it.port == port)
        raise LookupError(slot)

    def migrate(self, key: str, target: RedisServer) -> Callable[[], None]:
        """Begin to move the slot of `key` to `target`; what is returned moves its keys and ends it."""
        source, slot = self.owner(key), key_slot(key.encode())
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

        def finish() -> None:
            while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
                self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for server in (target, source):
                self.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

        return finish

    def empty(self) -> None:
        for server in self.masters:
            self.ask(server, "FLUSHALL")

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def _node(self) -> RedisServer:
        bus = free_port()
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", str(NODE_TIMEOUT)]
        cluster += ["--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"]
        server = RedisServer(*cluster, *PROMPT, *self._options)
        self._bus[server.port] = bus
        self._servers.append(server)
        return server

    def _alive(self) -> RedisServer:
        return next(it for it in self._servers if it.process.poll() is None)


class TlsServer(RedisServer):
    """redis-server that speaks TLS only, with a certificate of `authority` (or `certificate`)."""

    def __init__(
        self, authority: trustme.CA, certificate: trustme.LeafCert, *options: str, clients: bool = False
    ) -> None:
        self._authority, self._certificate, self._clients = authority, certificate, clients
        super().__init__(*options)
        self.url = f"rediss://127.0.0.1:{self.port}/0"

    def _arguments(self) -> list[str]:
        files = {name: self.directory / f"{name}.pem" for name in ("ca", "cert", "key")}
        self._authority.cert_pem.write_to_path(files["ca"])
        self._certificate.private_key_pem.write_to_path(files["key"])
        files["cert"].write_bytes(b"".join(blob.bytes() for blob in self._certificate.cert_chain_pems))
        tls = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "yes" if self._clients else "no"]
        for option, name in (("--tls-ca-cert-file", "ca"), ("--tls-cert-file", "cert"), ("--tls-key-file", "key")):
            tls += option, str(files[name])
        return [*super()._arguments(), *tls]


class TlsSentinel(TlsServer):
    """A sentinel that speaks TLS, with the lines of `configuration`."""

    def __init__(self, authority: trustme.CA, certificate: trustme.LeafCert, configuration: str) -> None:
        self._config = configuration
        super().__init__(authority, certificate, "--tls-replication", "yes")

    def _arguments(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        file.write_text(self._config)
        return [str(file), "--sentinel", *super()._arguments()]


def authority_file(authority: trustme.CA, directory: Path) -> Path:
    """The authority's certificate as ssl_ca_certs= takes it."""
    path = directory / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path
