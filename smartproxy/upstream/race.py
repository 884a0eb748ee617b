"""Several addresses of one host, raced: happy eyeballs (RFC 8305, section 5).

The next address is tried when the one before has failed, or has not answered for 250 ms; the first that
stands wins, and the others are given up. So a dead address costs a quarter of a second, not a timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.upstream.connection import Upstream

#: Seconds between two attempts (RFC 8305, section 8: Connection Attempt Delay).
HEAD_START = 0.25


class Race:
    """Attempts at ``addresses``, which must not be empty.

    :param attempt: begins to connect to one address.
    :ivar won: fires with the first connection; fails as the last attempt did. Cancelling gives up all.
    """

    def __init__(
        self, addresses: Sequence[str], attempt: Callable[[str], Deferred[Upstream]], clock: IReactorTime
    ) -> None:
        self._left = list(addresses)
        self._attempt = attempt
        self._clock = clock
        self._running: list[Deferred[Upstream]] = []
        self._timer: IDelayedCall | None = None
        self.won: Deferred[Upstream] = Deferred(lambda _: self._give_up())

    def start(self) -> Deferred[Upstream]:
        """Off; :attr:`won`."""
        self._next()
        return self.won

    def _next(self) -> None:
        self._stop_timer()
        running = self._attempt(self._left.pop(0))
        self._running.append(running)
        if self._left:
            self._timer = self._clock.callLater(HEAD_START, self._next)
        running.addCallbacks(self._stood, self._fell, callbackArgs=(running,), errbackArgs=(running,))

    def _stood(self, upstream: Upstream, winner: Deferred[Upstream]) -> None:
        self._running.remove(winner)
        self._give_up()
        self.won.callback(upstream)

    def _fell(self, why: Failure, loser: Deferred[Upstream]) -> None:
        if loser not in self._running:
            return  # given up: somebody else has won
        self._running.remove(loser)
        if self._left:
            self._next()
        elif not self._running:
            self.won.errback(why)

    def _give_up(self) -> None:
        self._stop_timer()
        self._left.clear()
        running, self._running = self._running, []
        for attempt in running:
            attempt.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
