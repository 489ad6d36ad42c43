"""intents.py CACHE RECORD DIRECTORY SEAM: write "new" to k over Redis, a record at a URL and a journal, killed at a seam.

A seam is "before NAME" or "after NAME" of a function below; "none" ends without closing anything.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tiered import MemoryTier, RedisTier, TieredBackend
from tiered.chain_url import tiers_from_url
from tiered.tiers import intent_tables
from tiered.tiers.base import Record
from tiered.tiers.intent_journal import IntentJournal
from tiered.tiers.intent_store import IntentStore
from tiered.tiers.journaled import JournaledRecord

FUNCTIONS: dict[str, tuple[Any, str]] = {
    "announce": (IntentStore, "announce"),
    "announce's transaction": (intent_tables, "announce"),
    "reserve": (RedisTier, "_reserve"),
    "end": (IntentJournal, "end"),
    "put": (RedisTier, "put_many"),
    "confirm": (IntentJournal, "confirm"),
    "write out": (intent_tables, "write_out"),
}


def kill(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(seam: str) -> None:
    when, _, name = seam.partition(" ")
    owner, attribute = FUNCTIONS[name]
    right: Callable[..., Any] = getattr(owner, attribute)

    def wrapped(*args: Any, **options: Any) -> Any:
        if when == "before":
            kill()
        result = right(*args, **options)
        kill()
        return result

    setattr(owner, attribute, wrapped)


cache, url, directory, seam = sys.argv[1:]
(record,) = tiers_from_url(f"{url}{'&' if '?' in url else '?'}name=record&timeout=5s")
assert isinstance(record, Record)
FUNCTIONS["commit"] = (type(record), "commit")
journaled = JournaledRecord(record, directory)
store = TieredBackend([MemoryTier(), RedisTier(cache, timeout=5.0), journaled])
store.get("k")
if seam != "none":
    killed_at(seam)
store.set("k", "new")
print("acknowledged", flush=True)
journaled.journal and journaled.journal.flush()
os._exit(0)
