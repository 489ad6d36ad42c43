"""docker-compose.yml without Docker: the specification, what it mounts and depends on, where it listens, whom it trusts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import compose_spec
import pytest
from compose_spec.models import ComposeSpecification

from tests import waiting
from tests.couchbase_servers import fresh
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
STACK: dict[str, Any] = compose_spec.PyCompose.from_yaml(TEXT).to_dict()
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
INIT = ROOT / "scripts" / "couchbase-init"


def test_it_follows_the_compose_specification() -> None:
    ComposeSpecification.model_validate(STACK)
    assert compose_spec.PyCompose.from_yaml(TEXT).to_dict() == STACK


@pytest.mark.parametrize(
    "wrong",
    [
        TEXT.replace("    image: redis:7.4.1-alpine", "    imagee: redis:7.4.1-alpine"),
        TEXT.replace("condition: service_healthy", "condition: well"),
        TEXT.replace("interval: 5s", "interval: often", 1),
        TEXT.replace("restart: unless-stopped", "restart: sometimes", 1),
    ],
)
def test_the_check_finds_what_the_specification_does_not_allow(wrong: str) -> None:
    assert wrong != TEXT
    with pytest.raises(Exception, match=r"imagee|well|often|sometimes|unknown|invalid|expected"):
        ComposeSpecification.model_validate(compose_spec.PyCompose.from_yaml(wrong).to_dict())


def mounts(service: str) -> list[dict[str, str]]:
    """Source, target and options of each volume, in the short or in the long form."""
    found = []
    for volume in SERVICES[service].get("volumes", []):
        if isinstance(volume, str):
            source, target, *options = volume.split(":")
            found.append({"source": source, "target": target, "options": ":".join(options)})
        else:
            found.append({"source": volume["source"], "target": volume["target"], "options": str(volume)})
    return found


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_mounted_path_and_every_volume_is_there(service: str) -> None:
    for mount in mounts(service):
        source = mount["source"]
        if source.startswith((".", "/")):
            assert (ROOT / source).exists(), source
            assert "ro" in mount["options"], f"{source} can be written from inside"
        else:
            assert source in STACK["volumes"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_a_service_depends_on_is_there_in_its_profiles(service: str) -> None:
    own = set(SERVICES[service].get("profiles", []))
    for name, how in dict(SERVICES[service].get("depends_on", {})).items():
        others = set(SERVICES[name].get("profiles", []))
        assert not others or own <= others, f"{service} would start without {name}"
        if how["condition"] == "service_healthy":
            assert SERVICES[name]["healthcheck"]["test"]


def test_nothing_listens_to_others_and_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host = port.split(":")[0] if isinstance(port, str) else port["host_ip"]
            assert host == "127.0.0.1", name
        tag = service["image"].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag) and "latest" not in tag, name
        if service.get("restart") != "no":
            assert "healthcheck" in service, name


def test_a_laptop_starts_redis_alone_and_without_a_password() -> None:
    small = [name for name, service in SERVICES.items() if not service.get("profiles")]
    assert small == ["redis"] and "${" not in str(SERVICES["redis"])


def test_passwords_are_in_the_environment_file_alone_and_have_no_default() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    known = set(re.findall(r"^#? ?(\w+)=", EXAMPLE, re.MULTILINE))
    assert used == known
    for name in used:
        if "PASSWORD" in name:
            assert f"${{{name}:-}}" in TEXT and re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE), name
    assert "/.env" in (ROOT / ".gitignore").read_text().split()


def test_what_the_bots_image_copies_is_there() -> None:
    build = SERVICES["bot"]["build"]
    assert (ROOT / build["context"]).samefile(ROOT)
    recipe = (ROOT / build["dockerfile"]).read_text()
    sources = [source for line in re.findall(r"^COPY (.*) \S+$", recipe, re.MULTILINE) for source in line.split()]
    assert "compose/bot.py" in sources and all((ROOT / source).exists() for source in sources)
    assert re.search(r"^USER \d+:\d+$", recipe, re.MULTILINE) and re.search(
        r"^FROM python:\d+\.\d+\.\d+", recipe, re.MULTILINE
    )


def test_prometheus_finds_the_bot_and_grafana_finds_prometheus() -> None:
    (group,) = json.loads((ROOT / "compose" / "targets" / "bot.json").read_text())
    host, port = group["targets"][0].split(":")
    assert host in SERVICES and f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]
    host = re.fullmatch(r"http://(\w+):9090", SERVICES["grafana"]["environment"]["PROMETHEUS_URL"])
    assert host and host[1] in SERVICES


def test_the_bot_works_on_its_chain_and_shows_its_metrics(
    shared_redis_server: RedisServer, couchbase_url: str, tmp_path: Path
) -> None:
    port = free_port()
    own = {name: text for name, text in os.environ.items() if not name.startswith("TIERED_")}
    chain = f"memory://,{shared_redis_server.url}?prefix={fresh()},{couchbase_url}?prefix={fresh()}&connect_timeout=10s"
    environment = {**own, "TIERED_URL": chain, "TIERED_JOURNAL": str(tmp_path / "j"), "BOT_METRICS_PORT": str(port)}
    bot = subprocess.Popen([sys.executable, str(ROOT / "compose" / "bot.py")], env=environment, cwd=tmp_path)
    try:
        eventually(lambda: sets(port) > 20, "a bot at work")
    finally:
        bot.send_signal(signal.SIGTERM)
        assert bot.wait(waiting.LIMIT) == 0


def sets(port: int) -> float:
    """How many writes the bot's metrics tell of."""
    try:
        text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        return 0.0
    found = re.findall(r'^tiered_operations_total\{[^}]*op="set"[^}]*\} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


# couchbase-init, with a couchbase-cli that notes what it is asked


@pytest.fixture
def cli(tmp_path: Path) -> dict[str, str]:
    """The environment of a run: a cluster that remembers in files what was made of it."""
    program = tmp_path / "couchbase-cli"
    program.write_text(
        f"""#!/bin/sh
cd {tmp_path}
echo "$@" >> calls
case "$1" in
    server-list) [ -e cluster ] && [ "$(cat cluster)" = "$CB_REST_PASSWORD" ] ;;
    cluster-init) [ ! -e cluster ] && printf %s "$CB_REST_PASSWORD" > cluster ;;
    bucket-list) cat bucket 2>/dev/null || true ;;
    bucket-create) [ ! -e bucket ] && printf 'tiered\\n type: membase\\n' > bucket ;;
    user-manage) case "$*" in *"[tiered]"*) [ ! -e community ] ;; esac ;;
esac
"""
    )
    program.chmod(0o755)
    passwords = {"COUCHBASE_ADMIN_PASSWORD": "one $ecret", "COUCHBASE_BOT_PASSWORD": "another's"}
    return {"PATH": os.environ["PATH"], "COUCHBASE_CLI": str(program), **passwords}


def init(environment: dict[str, str], directory: Path) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and the commands."""
    calls = directory / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(["/bin/sh", str(INIT)], env=environment, capture_output=True, text=True)
    asked = [line.split()[0] for line in calls.read_text().splitlines()] if calls.exists() else []
    return done.returncode, done.stdout + done.stderr, asked


def test_init_makes_everything_once(cli: dict[str, str], tmp_path: Path) -> None:
    everything = ["server-list", "cluster-init", "bucket-list", "bucket-create", "user-manage"]
    code, said, asked = init(cli, tmp_path)
    assert (code, asked) == (0, everything) and "ready" in said
    assert cli["COUCHBASE_ADMIN_PASSWORD"] not in said and cli["COUCHBASE_BOT_PASSWORD"] not in said
    assert init(cli, tmp_path)[::2] == (0, ["server-list", "bucket-list", "user-manage"])


def test_init_takes_the_role_that_the_community_edition_has(cli: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "community").touch()
    code, _, asked = init(cli, tmp_path)
    assert code == 0 and asked.count("user-manage") == 2
    assert "bucket_full_access[*]" in (tmp_path / "calls").read_text().splitlines()[-1]


@pytest.mark.parametrize("name", ["COUCHBASE_ADMIN_PASSWORD", "COUCHBASE_BOT_PASSWORD"])
def test_init_refuses_an_empty_password(cli: dict[str, str], tmp_path: Path, name: str) -> None:
    code, said, asked = init({**cli, name: ""}, tmp_path)
    assert code != 0 and name in said and ".env" in said and asked == []


def test_init_fails_where_the_password_is_another(cli: dict[str, str], tmp_path: Path) -> None:
    assert init(cli, tmp_path)[0] == 0
    code, _, asked = init({**cli, "COUCHBASE_ADMIN_PASSWORD": "wrong"}, tmp_path)
    assert code != 0 and "bucket-create" not in asked and "user-manage" not in asked


# Monitoring


def target_of(service: str, source: str) -> str:
    (found,) = (it["target"] for it in mounts(service) if it["source"] == source)
    return found


def test_grafana_finds_what_it_is_provisioned_with() -> None:
    provider = (ROOT / "grafana/provisioning/dashboards/tiered.yml").read_text()
    assert f"path: {target_of('grafana', './grafana/dashboards')}\n" in provider
    assert target_of("grafana", "./grafana/provisioning") == "/etc/grafana/provisioning"
    used = re.findall(r"\$\{(\w+)\}", (ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert used and set(used) <= set(SERVICES["grafana"]["environment"])
