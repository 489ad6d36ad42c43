"""Opening the store that a command was pointed to."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered.backend import TieredBackend


def given(args: argparse.Namespace) -> tuple[str | None, dict[str, Any]]:
    """The configuration file, and the settings of the command line that override it and the environment."""
    options = {name: value for name in ("url", "namespace") if (value := getattr(args, name, None)) is not None}
    return getattr(args, "config", None), options


def open_store(args: argparse.Namespace) -> TieredBackend:
    """The store of --url, --config or the environment; only commands that write make one (`makes_store`). Raises `ConfigError`."""
    from tiered.backend import TieredBackend
    from tiered.chain_url import directory_of, record_of
    from tiered.config import settings_from
    from tiered.errors import ConfigError

    source, options = given(args)
    url = {**settings_from(source), **options}.get("url")
    if url is not None and not getattr(args, "makes_store", False):
        directory = directory_of(record_of(url))
        if directory is not None and not has_store(Path(directory)):
            raise ConfigError(
                f"there is no store in {directory}; is the path right? The bot makes one, or `tiered set`"
            )
    return TieredBackend.from_config(source, **options)


def has_store(directory: Path) -> bool:
    """Whether somebody's store or journal is there; also if it cannot be looked at, or is half restored: then opening it says why."""
    from tiered.tiers.file_place import DATABASE, begun_restore

    try:
        (directory / DATABASE).lstat()
    except FileNotFoundError:
        return begun_restore(directory) is not None
    except OSError:
        return True
    return True


def hush() -> None:
    """For commands that show the state of tiers themselves: its warnings would say it again, in between."""
    logging.getLogger("tiered").setLevel(logging.ERROR)
