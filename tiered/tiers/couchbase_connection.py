"""One Cluster of the Couchbase SDK: made on first use, shared by all threads, never taken over a fork."""

from __future__ import annotations

import ctypes
from datetime import timedelta
from threading import Lock
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.diagnostics import PingState, ServiceType
from couchbase.exceptions import CouchbaseException
from couchbase.options import ClusterOptions, ClusterTimeoutOptions, PingOptions
from couchbase.transcoder import RawBinaryTranscoder

from tiered.clock import Clock
from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.tiers.couchbase_errors import store_error
from tiered.tiers.couchbase_url import Address

PAUSE = 1.0
"""Seconds in which nobody tries again to connect after somebody has failed: a try takes its full time."""
DURABLE = 1.5
"""Seconds; servers take no shorter limit for a write that waits for other nodes."""


class Bytes:
    """Documents as the bytes they are: what another program wrote, as JSON say, is for the reader to refuse, and to replace."""

    encode_value = staticmethod(RawBinaryTranscoder().encode_value)

    def decode_value(self, value: bytes, flags: int) -> bytes:
        return bytes(value)


class Connection:
    """A connected collection. Thread-safe; raises `StoreError`. `timeout` and `connect_timeout` are seconds."""

    def __init__(self, address: Address, *, name: str, timeout: float, connect_timeout: float, clock: Clock) -> None:
        self._address, self._name, self._clock = address, name, clock
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._start()

    def _start(self) -> None:
        self._lock = Lock()  # held by whoever connects; others wait for that, not for one after the other
        self._cluster: Any = None
        self._bucket: Any = None
        self._collection: Any = None
        self._failure: tuple[str, Reason] | None = None  # an error would keep its frames, and a Cluster in them
        self._failed_at = 0.0
        self._closed = False

    def collection(self, *, write: bool) -> Any:
        """The SDK's collection; connects if need be."""
        found = self._collection
        return found if found is not None else self._connected(write)

    def ping(self) -> None:
        """Ask every node of the bucket. Not by wait_until_ready: it may wait for minutes, and then says nothing."""
        self.collection(write=False)
        limit = timedelta(seconds=self._timeout)
        try:
            report = self._bucket.ping(PingOptions(timeout=limit, service_types=[ServiceType.KeyValue]))
        except (CouchbaseException, RuntimeError) as error:
            raise store_error(error, self._name, write=False) from error
        states = [it.state for its in report.endpoints.values() for it in its]
        if not states or any(state is not PingState.OK for state in states):
            reason = Reason.TIMEOUT if PingState.TIMEOUT in states else Reason.CONNECTION
            message = f"{sum(it is not PingState.OK for it in states)} of {len(states)} nodes do not answer a ping"
            raise StoreUnavailable(message, tier=self._name, reason=reason)

    def renew(self) -> None:
        """Connect anew: nodes may have come back elsewhere, and the SDK does not always find them."""
        with self._lock:
            cluster, self._collection, self._cluster = self._cluster, None, None
            self._failure = None
        if cluster is not None:
            cluster.close()
        self.collection(write=False)

    def close(self) -> None:
        with self._lock:
            cluster, self._collection, self._cluster, self._closed = self._cluster, None, None, True
        if cluster is not None:
            cluster.close()

    def abandon(self) -> None:
        """In a child after a fork: begin anew, and leave the parent's objects alone for ever.

        To use, to close or even to destroy them waits for threads that exist in the parent only.
        """
        for inherited in (self._cluster, self._bucket, self._collection):
            if inherited is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))  # not even the interpreter's end destroys it
        closed = self._closed
        self._start()
        self._closed = closed

    def _connected(self, write: bool) -> Any:
        kind: type[StoreError] = NotApplied if write else StoreUnavailable  # nothing was asked yet
        if not self._lock.acquire(timeout=self._connect_timeout + PAUSE):
            message = "others have been trying to connect for too long; this call was not made"
            raise kind(message, tier=self._name, reason=Reason.TIMEOUT)
        try:
            if self._closed:
                raise kind("closed", tier=self._name, reason=Reason.MISUSE)
            if self._collection is None:
                self._connect()
            return self._collection
        except (StoreUnavailable, NotApplied) as error:
            message = without_tier(error, self._name)
            raise kind(message, tier=self._name, reason=error.reason) from error
        finally:
            self._lock.release()

    def _connect(self) -> None:
        if self._failure is not None and self._clock.monotonic() - self._failed_at < PAUSE:
            message, reason = self._failure
            raise StoreUnavailable(message, tier=self._name, reason=reason)
        try:
            cluster = Cluster(self._address.connection, self._options())
            bucket = cluster.bucket(self._address.bucket)
        except (CouchbaseException, RuntimeError, ValueError) as error:
            self._failed_at = self._clock.monotonic()
            raise self._noted(store_error(error, self._name, write=False)) from error
        self._failure, self._cluster, self._bucket = None, cluster, bucket
        self._collection = bucket.scope(self._address.scope).collection(self._address.collection)

    def _noted(self, failure: StoreError) -> StoreError:
        self._failure = without_tier(failure, self._name), failure.reason
        return failure

    def _options(self) -> Any:
        it = self._address
        limits = ClusterTimeoutOptions(
            kv_timeout=timedelta(seconds=self._timeout),
            kv_durable_timeout=timedelta(seconds=max(DURABLE, self._timeout)),
            connect_timeout=timedelta(seconds=self._connect_timeout),
            bootstrap_timeout=timedelta(seconds=self._connect_timeout),
        )
        login = PasswordAuthenticator(it.user, it.password, cert_path=it.certificate)
        return ClusterOptions(
            login,
            transcoder=Bytes(),
            timeout_options=limits,
            enable_tracing=False,  # its reports of slow calls cost each call as much as the frame does
            enable_metrics=False,
        )
