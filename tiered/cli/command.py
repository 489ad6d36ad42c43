"""How a subcommand is registered: one look of `--help` for all."""

from __future__ import annotations

import argparse
from typing import Any


def add_command(
    commands: Any, name: str, text: str, examples: str, *parents: argparse.ArgumentParser, about: str | None = None
) -> Any:
    """Its parser: `text` is its line in the list of commands, `about` (None: nothing) and `examples` are in its own help."""
    return commands.add_parser(
        name,
        parents=parents,
        help=text,
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
