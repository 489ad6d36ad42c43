"""The writing side of a file tier: one connection, and transactions that the writers of a process share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, without_tier
from tiered.handlers import pass_on
from tiered.tiers.base import Mark
from tiered.tiers.combine import Combiner, Job
from tiered.tiers.file_errors import CLOSED, SQLITE_ERRORS, certainly_undone
from tiered.tiers.file_session import Session
from tiered.tiers.file_store import LOOKS, Database
from tiered.tiers.sqlite import ABANDONED, Connection, Error

CONFIRMATIONS = 100_000

_Result = TypeVar("_Result")


class Writer:
    """Runs work in transactions: durable when `write` returns, unless it is lazy. Thread-safe."""

    def __init__(self, database: Database, connection: Connection | None = None) -> None:
        self._database = database
        self._errors = database.errors
        self._full = database.sync == "full"
        self._session = Session(connection) if connection is not None else None
        self._confirmations: deque[Mark] = deque(maxlen=CONFIRMATIONS)
        self._combiner = Combiner(self._lead, self._errors.name)
        self._relaxed = False
        self._closed = False
        self._look_at = 0.0

    def write(self, work: Callable[[Session], _Result], *, lazy: bool = False) -> _Result:
        """Run `work`; `lazy` does not wait for the disk. Raises `NotApplied` or `Ambiguous`, or what `work` raises."""
        if self._closed:
            raise NotApplied(CLOSED, tier=self._errors.name)
        result: _Result = self._combiner.submit(work, lazy=lazy)
        return result

    def confirm(self, marks: Sequence[Mark]) -> None:
        """The next commit carries these along; one that is lost before then costs a replay, never truth."""
        self._confirmations.extend(marks)

    def flush(self) -> None:
        """Write waiting confirmations, lazily."""
        if self._confirmations and not self._closed:
            self.write(self._clear_marks, lazy=True)

    def close(self) -> None:
        with suppress(StoreError):  # unconfirmed marks are replayed, which is harmless
            self.flush()
        self._closed = True
        with suppress(NotApplied):  # in a signal handler, say, inside a batch: the connection is closed at its end
            self.stop()  # whoever was writing has finished
        self.resume()

    def stop(self) -> None:
        """Wait for the running batch, close the connection, and let no batch start until `resume`.

        Raises `NotApplied` in a signal handler or finalizer inside a `write` of this thread.
        """
        self._combiner.pause()
        try:
            if self._session is not None:
                self._session.copy_log_back()
        finally:
            self._drop()

    def resume(self) -> None:
        """Idempotent."""
        self._combiner.resume()

    def abandon(self) -> Connection | None:
        """After a fork, in the child, which goes on with another one: what it must neither use nor close."""
        return None if self._session is None else self._session.leave()

    # A batch

    def _lead(self, batch: list[Job]) -> None:
        try:
            self._transact(batch, self._combiner.gather)
        finally:
            if self._closed:
                self._drop()

    def _transact(self, batch: list[Job], gather: Callable[[list[Job]], None] | None = None) -> None:
        """Run a batch in one transaction; if a job fails, each job in one of its own, so that none fails for another.

        An interrupt (no `Exception`) is raised here, in its thread, after the other jobs were told what became of them.
        """
        try:
            try:
                session = self._begin(batch)
                failed = self._work(session, batch, gather)
            except StoreError as error:
                _fail(batch, error)
                return
            if failed is None:
                self._finish(session, batch)
            elif len(batch) == 1:
                batch[0].error = failed
            else:
                self._transact_each(batch)
        except BaseException:
            undone = self._session is not None and self._session.connection.in_transaction
            self._roll_back()
            outcome = NotApplied if undone else Ambiguous
            unsettled = [job for job in batch if not job.settled and job.error is None]
            _fail(unsettled, outcome("interrupted while writing", tier=self._errors.name))
            raise

    def _transact_each(self, batch: list[Job]) -> None:
        """Each job in a transaction of its own; an interrupt in one of them keeps those behind it from being begun."""
        for number, job in enumerate(batch, 1):
            try:
                self._transact([job])
            except BaseException:
                _fail(batch[number:], NotApplied("interrupted before it was begun", tier=self._errors.name))
                raise

    def _begin(self, batch: list[Job]) -> Session:
        """Start a transaction. A failure here is everybody's: trying again for each would multiply the time to wait."""
        if self._closed:
            raise NotApplied(CLOSED, tier=self._errors.name)
        try:
            if self._database.replaced():
                raise NotApplied(self._errors.replaced(), tier=self._errors.name, reason=Reason.MISUSE)
            session = self._session
            if session is None:
                session = self._session = Session(self._database.connect())
            relaxed = self._full and batch[0].lazy and all(job.lazy for job in batch)
            if relaxed != self._relaxed:
                session.connection.execute(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
                self._relaxed = relaxed
            session.begin()
            self._check_log(session)
        except (*SQLITE_ERRORS, ConfigError, OSError) as error:
            pass_on(error)
            self._drop()
            raise self._errors.not_applied(error) from error
        return session

    def _check_log(self, session: Session) -> None:
        """What would be written to a log that is not at its path would be lost. That another one is there is seen within `LOOKS`."""
        if monotonic() < self._look_at and self._database.log_is_there():
            return
        self._look_at, log = monotonic() + LOOKS, self._database.log()
        session.log = session.log or log
        if log != session.log:
            self._errors.log_removed = True
            session.roll_back()
            self._session = None
            ABANDONED.append(session.leave())  # closing would write to the database what others have changed since
            raise NotApplied(self._errors.replaced(), tier=self._errors.name, reason=Reason.MISUSE)

    def _work(self, session: Session, batch: list[Job], gather: Callable[[list[Job]], None] | None) -> Exception | None:
        """Do the jobs inside the transaction; if one fails, roll back and return its error."""
        try:
            done = 0
            while done < len(batch):
                for job in batch[done:]:
                    assert job.work is not None  # pauses are never in a batch
                    job.result = job.work(session)
                    done += 1
                if gather is not None and not self._relaxed:  # nothing durable may join what does not wait for the disk
                    gather(batch)
            if self._confirmations:
                self._clear_marks(session)
            session.finish()
        except Exception as error:
            pass_on(error)
            self._roll_back()
            if not isinstance(error, SQLITE_ERRORS):
                return error
            failed = self._errors.not_applied(error)
            failed.__cause__ = error
            return failed
        return None

    def _finish(self, session: Session, batch: list[Job]) -> None:
        try:
            session.end()
        except SQLITE_ERRORS as error:
            self._roll_back()
            if certainly_undone(error):
                _fail(batch, self._errors.not_applied(error), error)
                return
            self._drop()  # after a failed fsync nothing that this connection believes is certain
            _fail(batch, self._errors.ambiguous(error), error)
            return
        for job in batch:
            job.settled = True

    def _roll_back(self) -> None:
        if self._session is not None:
            try:
                self._session.roll_back()
            except SQLITE_ERRORS:
                self._drop()

    def _drop(self) -> None:
        """Close the connection; the next write opens a new one."""
        session, self._session = self._session, None
        self._relaxed = False
        if session is not None:
            with suppress(Error):
                session.close()

    def _clear_marks(self, session: Session) -> None:
        session.confirm([self._confirmations.popleft() for _ in range(len(self._confirmations))])


def _fail(jobs: Sequence[Job], error: StoreError, cause: BaseException | None = None) -> None:
    for job in jobs:
        message = without_tier(error, error.tier)
        job.error, job.settled = type(error)(message, tier=error.tier, reason=error.reason), True
        job.error.__cause__ = cause or error.__cause__
