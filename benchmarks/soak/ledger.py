"""What the clients of a soak have done, to compare with the counters of the proxy and the backends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable

from OpenSSL import SSL

from benchmarks.soak.talk import CLEAN, FAULTY, ROUTES, WEB, WEB_FAULTY, CorruptError

#: How a conversation may fail.
FAILURES = (CorruptError, OSError, SSL.Error, asyncio.IncompleteReadError, RuntimeError)
_MOST_ERRORS = 20
#: What a :class:`CorruptError` says where a refused client has heard nothing.
_NO_ANSWER = "answered b''"
#: Conversations with several requests on one connection.
_BETWEEN_REQUESTS = ("web, kept", "web, pipelined")
#: Seconds from the order to replace all workers until the last one closes such connections.
_DRAINS = 15.0


class Ledger:
    """Counters of all clients.

    :ivar moved: bytes by route.
    :ivar opened: connections by route.
    :ivar refused: connections that the proxy must have refused, by reason.
    :ivar outcomes: conversations by ``kind, route: outcome``.
    :ivar errors: descriptions of the first failures.
    :ivar failed: number of failures.
    :ivar killed_at: when a worker of the proxy was last killed, in monotonic seconds.
    :ivar drained_at: when one was last told to end: it closes kept connections of HTTP between two requests.
    """

    def __init__(self) -> None:
        self.moved = {route: {"received": 0, "sent": 0} for route in (*ROUTES, *WEB, WEB_FAULTY)}
        self.opened: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.failed = 0
        self.killed_at = self.drained_at = float("-inf")

    async def judge(self, kind: str, route: str, conversation: Awaitable[object], patience: float) -> None:
        """Await a conversation and count its outcome.

        :param patience: seconds that it may take.
        """
        steady = route != FAULTY
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                await conversation
            outcome = "as it must"
        except FAILURES as error:
            outcome = "failed" if steady or isinstance(error, CorruptError) else "broken"
            if route == "spare" and isinstance(error, ConnectionRefusedError):
                outcome = "not listening"  # a reload has removed the route
            if kind in _BETWEEN_REQUESTS and self.drained_at >= began - _DRAINS and _is_closed(error):
                outcome = "closed between requests"
            if self.killed_at >= began and _may_be_killed(error):
                outcome = "ended with a killed worker"
            if outcome == "failed":
                self.failed += 1
                self.errors = [*self.errors, f"{kind} on {route}: {error!r}"][:_MOST_ERRORS]
        self.outcomes[f"{kind}, {'clean' if route in CLEAN else route}: {outcome}"] += 1


def _may_be_killed(error: Exception) -> bool:
    """Whether a conversation may have failed because its worker was killed, which ends it or leaves it without an answer."""
    return str(error) == _NO_ANSWER or not isinstance(error, CorruptError | TimeoutError)


def _is_closed(error: Exception) -> bool:
    """Whether a connection has ended where nothing of an answer had come."""
    return isinstance(error, ConnectionError) or (
        isinstance(error, asyncio.IncompleteReadError) and not error.partial
    )
