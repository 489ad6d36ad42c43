"""Fixtures of the tests of metrics; the stores that go by hand are those of the unit tests."""

from __future__ import annotations

import pytest

from tests.observability.exported import Exported
from tests.unit.conftest import Start, server, start

__all__ = ["Start", "exported", "server", "start"]


@pytest.fixture
def exported() -> Exported:
    return Exported()
