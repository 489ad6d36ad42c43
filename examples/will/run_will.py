#!/usr/bin/env python
"""Will, with a scheduler that changes its lists atomically."""

import python311  # noqa: F401  before anything of Will
from will.main import WillBot

from tiered.integrations.will import AtomicStorageMixin


class Bot(AtomicStorageMixin, WillBot):
    """Its scheduler removes what is done while plugins add."""


if __name__ == "__main__":
    Bot().bootstrap()
