"""The chaos kit: faults, a workload with a recorded history, and a checker of what the store promises."""

from tiered.testing.chaos.checker import Report, check
from tiered.testing.chaos.faulty import Faults, FaultyTier
from tiered.testing.chaos.faulty_record import FaultyRecord
from tiered.testing.chaos.history import Event, History, HistoryFile, read_history
from tiered.testing.chaos.proxy import Proxy
from tiered.testing.chaos.workload import WorkerSpec, run_threads, work

__all__ = [
    "Event",
    "Faults",
    "FaultyRecord",
    "FaultyTier",
    "History",
    "HistoryFile",
    "Proxy",
    "Report",
    "WorkerSpec",
    "check",
    "read_history",
    "run_threads",
    "work",
]
