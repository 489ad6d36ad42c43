"""Write the dashboards."""

from __future__ import annotations

from pathlib import Path

from grafana.source import DASHBOARDS

DIRECTORY = Path(__file__).parents[1] / "dashboards"

if __name__ == "__main__":
    for dashboard in DASHBOARDS:
        (DIRECTORY / f"{dashboard.name}.json").write_text(dashboard.json(), encoding="utf-8")
