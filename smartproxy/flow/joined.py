"""A call that is made once for all who want it while it runs, such as the stop of a service.

::

    stopping = JoinedCall(self._stop, self._has_stopped)
    return stopping()           # begins it, or joins the one in progress
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure


class JoinedCall:
    """Calls a coroutine function, one call at a time.

    Each caller has a Deferred of its own: one that gives up does not end the call.

    :param call: what to call.
    :param on_end: called when it has ended and all who wait know.
    """

    def __init__(
        self, call: Callable[[], Coroutine[Deferred[Any], Any, None]], on_end: Callable[[], object] = tuple
    ) -> None:
        self._call = call
        self._on_end = on_end
        #: Who waits for the end; ``None`` while nothing runs.
        self._waiting: list[Deferred[None]] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the call is in progress."""
        return self._waiting is not None

    def __call__(self) -> Deferred[None]:
        """Fires at the end of the call, or fails as it does."""
        waiting: Deferred[None] = Deferred()
        if self._waiting is not None:
            self._waiting.append(waiting)
        else:
            self._waiting = [waiting]
            Deferred.fromCoroutine(self._call()).addBoth(self._ended)
        return waiting

    def _ended(self, result: Failure | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        for one in waiting:
            if not one.called:
                one.callback(result)  # a Failure makes it fail
        self._on_end()
