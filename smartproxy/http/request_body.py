"""The body of a request as it is received, and its limits: how long it may be, and how slowly it may come.

The rate is looked at every 5 s, over the 10 s before: not for each piece, and without a timer for each. Time in which the proxy
does not read, because the target does not, is not the client's fault: the measurement begins anew then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.http.body import LEAST_MOVED, BodyReader, EndedBody
from smartproxy.http.refusals import RequestRefusal
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.http.splice import BodySplice
    from smartproxy.model.plan import HttpPlan
    from smartproxy.wire.http_framing import Framing

#: Seconds over which the rate is measured, and between two looks at it.
WINDOW: Final = 10.0
_STEP: Final = WINDOW / 2


class RequestBody:
    """One body.

    :param plan: its limits.
    :param pauses: how often the proxy has not read for a time; ``None`` while it does not.
    :param refuse: called once when fewer bytes a second than ``bodyMinimumRate`` were received.
    :ivar received: bytes of content so far.
    :ivar moving: moves the rest of it from socket to socket; ``None`` while it is read.
    """

    __slots__ = ("_most", "_pauses", "_plan", "_rate", "_reader", "_refuse", "moving", "received")

    def __init__(
        self,
        framing: Framing,
        plan: HttpPlan,
        pauses: Callable[[], int | None],
        refuse: Callable[[int, str], object],
    ) -> None:
        self._reader = BodyReader(framing)
        self._plan = plan
        self._most = plan.max_body
        self._pauses = pauses
        self._refuse = refuse
        self._rate: BodyRate | None = None
        self.received = 0
        self.moving: BodySplice | None = None

    def feed(
        self, received: bytes, pieces: list[bytes | memoryview], deadlines: Deadlines
    ) -> EndedBody | RequestRefusal | None:
        """Read on. ``pieces`` gets the content, as views of ``received``.

        :return: its end, or why the request is refused; ``None`` while more is to come.
        """
        verdict = self._reader.feed(received, pieces)
        if isinstance(verdict, Malformed):
            return RequestRefusal(400, verdict.why)
        self.received += sum(map(len, pieces))
        if self._most and self.received > self._most:
            return RequestRefusal(413, "a body over http.maxBodySize")
        if self._plan.body_rate:
            self._measure(verdict, deadlines)
        return verdict

    @property
    def left(self) -> int:
        """Bytes of a body of known length that are still to come; else 0."""
        return self._reader.left

    @left.setter
    def left(self, left: int) -> None:
        self._reader.left = left

    @property
    def may_move(self) -> bool:
        """Whether the rest is long enough to be moved from socket to socket. Its rate cannot be measured then."""
        return self._reader.left >= LEAST_MOVED and not self._plan.body_rate

    def close(self) -> None:
        """The exchange has ended."""
        rate, self._rate = self._rate, None
        if rate is not None:
            rate.cancel()

    def _measure(self, ended: EndedBody | None, deadlines: Deadlines) -> None:
        """Measure the rate from the first piece to the end: a client may wait until it is told to continue."""
        if ended is not None:
            self.close()
        elif self._rate is None:
            self._rate = BodyRate(self, self._plan.body_rate, deadlines, self._pauses, self._too_slow)

    def _too_slow(self) -> None:
        self._rate = None
        self._refuse(408, f"a body slower than {self._plan.body_rate} bytes a second (http.bodyMinimumRate)")


class BodyRate:
    """Looks at how fast a body is received.

    :param least: bytes a second.
    :param pauses: how often the proxy has not read for a time; ``None`` while it does not.
    """

    __slots__ = (
        "_body",
        "_deadlines",
        "_due",
        "_former",
        "_last",
        "_least",
        "_pauses",
        "_pauses_before",
        "_too_slow",
    )

    def __init__(
        self,
        body: RequestBody,
        least: int,
        deadlines: Deadlines,
        pauses: Callable[[], int | None],
        too_slow: Callable[[], object],
    ) -> None:
        self._body = body
        self._least = least
        self._deadlines = deadlines
        self._pauses = pauses
        self._too_slow = too_slow
        #: What was received at the last look, and at the one before; ``None`` where the proxy has not read all the time since.
        self._last = body.received
        self._former: int | None = None
        self._pauses_before = pauses()
        self._due: Deadline = deadlines.call_later(_STEP, self._look)

    def cancel(self) -> None:
        """Do not look any more."""
        self._due.cancel()

    def _look(self) -> None:
        received = self._body.received
        pauses, before = self._pauses(), self._pauses_before
        self._pauses_before = pauses
        if pauses is None or pauses != before:
            self._former = None
        elif self._former is not None and received - self._former < self._least * WINDOW:
            self._too_slow()
            return
        else:
            self._former = self._last
        self._last = received
        self._due = self._deadlines.call_later(_STEP, self._look)
