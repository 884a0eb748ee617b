"""Several addresses of one host, raced: Happy Eyeballs (RFC 8305, section 5).

The next address is tried when the previous one has failed, or has not answered for 250 ms. The first connection wins,
and the other attempts are cancelled. So a dead address costs a quarter of a second, not a timeout.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smartproxy.errors import Refused
from smartproxy.flow.event import AwaitableEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.upstream.connection import Upstream

#: Seconds between two attempts (RFC 8305, section 8: Connection Attempt Delay).
HEAD_START = 0.25


class Race:
    """Attempts at ``addresses``, which must not be empty.

    :param attempt: begins to connect to one address.
    :ivar won: happens with the first connection; fails as the last attempt did, with the details of all. Cancelling it
        cancels all attempts.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        attempt: Callable[[str], AwaitableEvent[Upstream]],
        clock: IReactorTime,
    ) -> None:
        self._remaining = list(addresses)
        self._attempt = attempt
        self._clock = clock
        self._running: list[AwaitableEvent[Upstream]] = []
        self._timer: IDelayedCall | None = None
        self._details: list[str] = []
        self.won: AwaitableEvent[Upstream] = AwaitableEvent(self._cancel_all)

    def start(self) -> AwaitableEvent[Upstream]:
        """Start the first attempt. Returns :attr:`won`."""
        self._next()
        return self.won

    def _next(self) -> None:
        self._stop_timer()
        running = self._attempt(self._remaining.pop(0))
        self._running.append(running)
        if self._remaining:
            self._timer = self._clock.callLater(HEAD_START, self._next)
        running.hand_on(partial(self._connected, running), partial(self._failed, running))

    def _connected(self, winner: AwaitableEvent[Upstream], upstream: Upstream) -> None:
        self._running.remove(winner)
        self._cancel_all()
        self.won.happen(upstream)

    def _failed(self, loser: AwaitableEvent[Upstream], why: BaseException) -> None:
        if loser not in self._running:
            return  # cancelled: another attempt has won
        self._running.remove(loser)
        if isinstance(why, Refused):
            self._details.append(why.detail)
            why.detail = "; ".join(self._details)
        if self._remaining:
            self._next()
        elif not self._running:
            self.won.fail(why)

    def _cancel_all(self) -> None:
        self._stop_timer()
        self._remaining.clear()
        running, self._running = self._running, []
        for attempt in running:
            attempt.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
