"""What is installed beside the package, and only where somebody wants it."""

from __future__ import annotations

from tiered.errors import ConfigError


def missing(what: str, extra: str) -> ConfigError:
    """To be raised where a package is not there: `what` needs it, and the extra `extra` has it."""
    return ConfigError(f"{what}: pip install '.[{extra}]' in the directory of tiered's sources")
