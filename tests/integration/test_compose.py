"""docker-compose.yml without Docker: the specification, what it mounts and depends on, where it listens, whom it trusts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
from compose_spec.models import ComposeSpecification

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
