"""What the world of the model is made of. Everything is a tuple, so a state is its own canonical form."""

from __future__ import annotations

from typing import NamedTuple

MAX_VERSION = 99
"""The debt of a write of which nobody knows whether it happened."""

CLOSED, HALF_OPEN, OPEN = "closed", "half_open", "open"
LIVE, GAP, OFF = "live", "gap", "off"
"""The subscription: proven, broken without anyone knowing, known to be broken."""


class Frame(NamedTuple):
    """A version, and whether it is a value (else a tombstone, an expired frame, or an absence)."""

    version: int = 0
    value: bool = False
    truth: int = 0
    """What it tells the caller: differs from `version` for absences that have none (without R16), and for what is `lost`."""

    @property
    def lost(self) -> bool:
        """Whether it is of a history that the record has lost."""
        return self.value and self.truth != self.version


NOTHING = Frame()


class Op(NamedTuple):
    """A call under way in a process, or the keeper's work."""

    call: str
    at: str
    seen: int = 0
    """Highest version that this process had returned when the call started (promise 3)."""
    due: int = 0
    """Highest version that everyone had to see when the call started (promise 4)."""
    gen: int = 0
    run: int = 0
    frame: Frame = NOTHING
    age: int = 0
    """0 young, 1 when a window of δ began after its start, 2 when that window ended."""
    epoch: bool = True
    """False once memory was emptied since the start."""
    leader: bool = False
    attempt: int = 0
    skip: str = ""
    """Why the cache tier did not answer; "missed" if it did, with nothing."""
    owed: int = 0
    doubt: int = 0
    mark: tuple[int, int] = (0, 0)
    fresh: bool = True
    """False once a put with this frame is past its *not after*."""


IDLE = Op("", "")


class Process(NamedTuple):
    gen: int = 1
    run: int = 1
    memory: int = 0
    """The version that memory holds; 0 for none. Memory never holds absences."""
    age: int = 0
    floor: int = 0
    breaker: str = CLOSED
    owed: int = 0
    """The highest version that Redis is known to lack; 0 for none."""
    doubt: int = 0
    """1 if Redis is owed whatever the record holds; 2 if that was said again while the keeper was paying."""
    ops: tuple[Op, ...] = ()
    keeper: Op = IDLE
    confirms: tuple[tuple[int, int], ...] = ()
    inbox: tuple[tuple[int, int], ...] = ()
    """Messages on their way: version, writer."""
    sub: str = LIVE
    seen: int = 0
    looks: int = 0
    looked: tuple[int, int] = (0, 0)
    """The mark that the last look saw."""
    cut: bool = False
    entered: bool = False
    """Whether it is the record's last session, or one before (r8_sessions)."""
    passed: int = 0
    """Looks until Redis may be asked again, which a read passed by because the record is faster."""

    @property
    def owes(self) -> bool:
        return self.owed > 0 or self.doubt > 0


class Put(NamedTuple):
    """A command that its client gave up and that the server may still run."""

    gen: int
    frame: Frame
    writer: int
    publish: bool


class Place(NamedTuple):
    """Where the record is in its history: see tiered/tiers/file_history.py."""

    line: int
    session: int
    id: int
    version: int


class Redis(NamedTuple):
    slots: tuple[tuple[int, Frame], ...] = ()
    """Generation and frame, sorted."""
    run: int = 1
    old: tuple[tuple[int, Frame], ...] = ()
    """What a snapshot holds."""
    late: tuple[Put, ...] = ()
    notes: tuple[Place, ...] = ()
    """Where the record was, by its lines."""

    def slot(self, gen: int) -> Frame | None:
        for number, frame in self.slots:
            if number == gen:
                return frame
        return None

    def hold(self, gen: int, frame: Frame | None) -> Redis:
        rest = [it for it in self.slots if it[0] != gen]
        return self._replace(slots=tuple(sorted([*rest, (gen, frame)] if frame is not None else rest)))


class Record(NamedTuple):
    frame: Frame
    top: int
    """The highest version given."""
    gen: int = 1
    run: int = 1
    marks: tuple[tuple[int, int], ...] = ()
    """Pending: version and generation; without a transaction: an intent's number and its writer."""
    sessions: tuple[tuple[int, int], ...] = ()
    """Who wrote, in this order: an id, and the version that it found."""


class World(NamedTuple):
    record: Record
    redis: Redis
    processes: tuple[Process, ...]
    acked: int = 0
    aging: int = 0
    due: int = 0
    copy: Record | None = None
    """Of the record's files."""
    drawn: int = 0
    """What was drawn at random, or from the clock: no number comes twice."""
    window: bool = False
    """Whether a window of δ is running."""
    budget: tuple[int, ...] = ()
    broken: str = ""
    """The promise that the last step broke."""

    def process(self, i: int, p: Process) -> World:
        them = self.processes
        return self._replace(processes=(*them[:i], p, *them[i + 1 :]))

    def pending(self) -> tuple[int, int]:
        """The mark on the key, or (0, 0)."""
        return self.record.marks[-1] if self.record.marks else (0, 0)
