"""A directory for what a command needs while it runs."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from tiered.errors import ConfigError


def scratch_for(command: str) -> TemporaryDirectory[str]:
    """It goes at the end of `with`. `ConfigError` where there is no place for it, as in a container that may write to a volume only."""
    try:
        return TemporaryDirectory(prefix=f"tiered-{command}-")
    except OSError as error:
        message = f"no directory for temporary files can be made ({error.strerror}); set TMPDIR to a directory to which this user may write"
        raise ConfigError(message) from error
