"""The dashboards as code: `python -m grafana.source` writes grafana/dashboards/*.json (`make dashboards`)."""

from __future__ import annotations

from grafana.source.dashboard import Dashboard
from grafana.source.overview import OVERVIEW
from grafana.source.resilience import RESILIENCE
from grafana.source.tiers import TIERS

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, TIERS, RESILIENCE)
