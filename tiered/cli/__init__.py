"""The command line."""

from tiered.cli.main import main

__all__ = ["main"]
