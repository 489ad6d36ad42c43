"""How a command ends that has servers, processes, files or the whole screen for its own."""

from __future__ import annotations

import signal


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM, and SIGHUP when the terminal is closed, end this process as Ctrl-C does: what it started must not outlive it.

    Who has them ignored, as nohup does, is not asked.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
