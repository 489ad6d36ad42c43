"""What a program shows on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence


def on_a_terminal(command: Sequence[str], env: Mapping[str, str] = os.environ) -> tuple[int, bytes, bytes]:
    """Run `command` with standard error on a terminal: its exit code, its output, and what the terminal was shown."""
    main, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env={**env, "TERM": "xterm"}) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(main, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        assert process.stdout is not None
        output = process.stdout.read()
    os.close(main)
    return process.returncode, output, shown
