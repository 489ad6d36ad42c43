"""write_and_die.py DIRECTORY VALUE: write one batch and end without closing the store, whose log stays."""

import os
import signal
import sys

from tiered import FileTier, TieredBackend

store = TieredBackend([FileTier(sys.argv[1])])
store.set_many({"a": sys.argv[2], "b": sys.argv[2] * 300})
os.kill(os.getpid(), signal.SIGKILL)
