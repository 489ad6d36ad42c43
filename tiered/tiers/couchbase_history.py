"""What a server says of each part (vBucket) of a bucket when something was written to it: its history, and how far it is."""

from __future__ import annotations

from threading import Lock
from typing import Any

from couchbase.mutation_state import MutationState
from couchbase.result import MutationToken


class Histories:
    """The newest token of each part that this process wrote to. Thread-safe.

    A part begins another history when its node was restarted or replaced; unless writes are `lasting`, that node may
    have lost what it acknowledged, and `replaced` says so until it is told to `believe`.
    """

    def __init__(self, *, lasting: bool) -> None:
        self._lasting = lasting
        self.believe()

    def believe(self) -> None:
        """What the nodes have now is right. Also for a child after a fork."""
        self.replaced = False
        self._newest: dict[int, MutationToken] = {}
        self._lock = Lock()  # guards the table

    def note(self, token: MutationToken) -> None:
        """Of a write that was acknowledged."""
        part = token.partition_id
        with self._lock:
            before = self._newest.setdefault(part, token)
            if before.partition_uuid != token.partition_uuid:
                self._newest[part], self.replaced = token, not self._lasting
            elif before.sequence_number < token.sequence_number:
                self._newest[part] = token

    def outdated(self) -> None:
        """A node knows none of what the tokens say."""
        self.believe()
        self.replaced = not self._lasting

    def seen(self) -> dict[str, Any]:
        """Options of a request that is to see all that was noted."""
        state = MutationState()
        with self._lock:
            for token in self._newest.values():
                state.add_mutation_token(token)
            return {"consistent_with": state} if self._newest else {}
