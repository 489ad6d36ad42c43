"""mind.py: evaluates a line of Python at a time, with Will's own mixins at hand, in the directory of a bot's config.py.

Answers a line of JSON each: the value as a literal, or what was raised, and what was logged meanwhile. Standard error has
what Will prints.
"""

import json
import logging
import os
import sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what Will prints goes elsewhere
sys.path[:0] = [os.getcwd(), os.environ["EXAMPLE"]]
import python311  # noqa: F401, E402
from will import settings  # noqa: E402
from will.mixins import ScheduleMixin, StorageMixin  # noqa: E402

from tiered.integrations.will import AtomicStorageMixin  # noqa: E402


class Mind(StorageMixin, ScheduleMixin):
    """As every plugin is."""


class Atomic(AtomicStorageMixin, Mind):
    """As a plugin that has opted in."""


class Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines.append(self.format(record))


def many(count: int, work) -> list[int]:
    """`work(number)` in so many forked children at the same time; their exit codes."""
    children = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


lines: list[str] = []
logging.getLogger().addHandler(Log())
here = {"settings": settings, "Mind": Mind, "mind": Mind(), "atomic": Atomic(), "many": many, "os": os, "sys": sys}
print(json.dumps("ready"), file=answers, flush=True)
for line in sys.stdin:
    value = error = None
    try:
        value = repr(eval(json.loads(line), here))
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"value": value, "error": error, "log": "\n".join(lines)}), file=answers, flush=True)
    lines.clear()
