"""What a test needs of the machine: root, a tool, a right that the kernel of a container may refuse.

A missing tool fails the test. What the machine refuses skips it, and the summary names the test and the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

REFUSED = "this machine cannot cause the fault: "


def tool(name: str) -> str:
    """The path of a program, or a failure that says how to get it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.fail(f"{name} is missing: `make test-faults` installs it (scripts/ensure-fault-tools)")
    return path


def run(*command: str) -> str:
    """What `command` printed; raises with what it complained about."""
    done = subprocess.run([tool(command[0]), *command[1:]], capture_output=True, text=True)
    if done.returncode:
        complaint = " ".join(done.stderr.split())
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {complaint}")
    return done.stdout


def allowed(*command: str) -> str:
    """`run`, for what a container may refuse: a mount, a namespace, a module of the kernel."""
    try:
        return run(*command)
    except RuntimeError as error:
        refuse(str(error))


def refuse(why: str) -> NoReturn:
    """This machine does not let the test cause its fault. Under TIERED_TEST_FAULTS=all that is a failure."""
    if os.environ.get("TIERED_TEST_FAULTS") == "all":
        pytest.fail(REFUSED + why)
    pytest.skip(REFUSED + why)
