"""Opening the store that a command was pointed to."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered.backend import TieredBackend


def given(args: argparse.Namespace) -> tuple[str | None, dict[str, Any]]:
    """The configuration file, and the settings of the command line that override it and the environment."""
    options = {name: value for name in ("url", "namespace") if (value := getattr(args, name, None)) is not None}
    return getattr(args, "config", None), options


def open_store(args: argparse.Namespace) -> TieredBackend:
    """The store of --url, --config or the environment. Raises `ConfigError`."""
    from tiered.backend import TieredBackend

    source, options = given(args)
    return TieredBackend.from_config(source, **options)


def hush() -> None:
    """For commands that show the state of tiers themselves: its warnings would say it again, in between."""
    logging.getLogger("tiered").setLevel(logging.ERROR)
