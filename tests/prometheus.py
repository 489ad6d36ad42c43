"""The real Prometheus for tests: promtool, and servers on loopback and a free port, ended by their process id."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers import free_port

ROOT = Path(__file__).parents[1]
GRAFANA = ROOT / "grafana"


def binary(name: str) -> str:
    """`prometheus` or `promtool`: on PATH, or where scripts/ensure-prometheus unpacked it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ROOT / '.prometheus/usr/bin'}")
    if found is None:
        raise RuntimeError(f"no {name}: run `make test`, which unpacks it, or scripts/ensure-prometheus")
    return found


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """What promtool says; it does not raise."""
    return subprocess.run([binary("promtool"), *arguments], input=text, text=True, capture_output=True, timeout=120)


class Prometheus:
    """A server over `directory`, which has a prometheus.yml and whatever that names."""

    def __init__(self, directory: Path) -> None:
        self._data = tempfile.mkdtemp(prefix="tiered-prometheus-")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = open(Path(self._data) / "log", "w+")  # noqa: SIM115  # closed by `stop`
        self.process = subprocess.Popen(
            [
                binary("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._data}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        self._log.seek(0)
        log = self._log.read()
        self.stop()
        raise RuntimeError(f"prometheus did not come up: {log[-2000:]}")

    def ask(self, path: str, **parameters: object) -> Any:
        """The `data` of an answer of the HTTP API; raises on an error."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The vector that `expression` is now, or was."""
        result: list[dict[str, Any]] = self.ask("query", query=expression, **({} if at is None else {"time": at}))[
            "result"
        ]
        return result

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.ask("query_range", query=expression, start=start, end=end, step=step)[
            "result"
        ]
        return result

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {it["labels"]["alertname"] for it in self.ask("alerts")["alerts"] if it["state"] == "firing"}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()
        shutil.rmtree(self._data, ignore_errors=True)
