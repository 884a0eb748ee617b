"""What does the client speak, and whom does it ask for? Looked at only where some route needs to know.

Where no route of a listener asks for more than ports and addresses, nobody waits for the client's first
bytes, so that protocols in which the server speaks first work. Where one does, the bytes are looked at and
stay where they are: the target gets them as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from smartproxy.errors import Refused
from smartproxy.flow.side import Ended, Expired, Side
from smartproxy.model.facts import Announced, Detected, Protocol
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import client_hello, http_head
from smartproxy.wire.sniff import Kind, sniff
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadlines

T = TypeVar("T")


class Detect:
    """Looks at the first bytes.

    :param needed: whether any route of the listener needs it.
    :param timeout: seconds in which enough must have come (``initialDataTimeout``); a byte extends nothing.
    """

    def __init__(self, timeout: float, deadlines: Deadlines, *, needed: bool) -> None:
        self._needed = needed
        self._timeout = timeout
        self._deadlines = deadlines

    async def __call__(self, side: Side, announced: Announced) -> Detected:
        """What is known of the first bytes; they are still held.

        :raises Refused: where they do not come in time, or are TLS that is no TLS.
        :raises Ended: where the client has left without a byte.
        """
        if not self._needed:
            return Detected(announced)
        due = self._deadlines.after(self._timeout, side.expire) if self._timeout else None
        try:
            if not side.held:
                await side.more(1)
            return await self._look(side, announced)
        except Expired:
            raise Refused(RejectReason.INITIAL_DATA_TIMEOUT) from None
        finally:
            if due is not None:
                due.drop()

    async def _look(self, side: Side, announced: Announced) -> Detected:
        kind = sniff(side.held)
        if isinstance(kind, NeedMore):
            kind = await _decided(side, sniff, kind)
        if isinstance(kind, Done) and kind.value is Kind.TLS:
            hello = client_hello.parse(side.held)
            if isinstance(hello, NeedMore):
                hello = await _decided(side, client_hello.parse, hello)
            if isinstance(hello, Malformed):
                raise Refused(RejectReason.TLS_ERROR, hello.why)
            return Detected(announced, Protocol.TLS, hello=hello.value)
        if isinstance(kind, Done) and kind.value is Kind.HTTP:
            request = http_head.parse(side.held)
            if isinstance(request, NeedMore):
                request = await _decided(side, http_head.parse, request)
            if isinstance(request, Done):
                return Detected(announced, Protocol.HTTP, request=request.value)
        return Detected(announced, Protocol.RAW)


async def _decided(
    side: Side, parse: Callable[[bytes], Verdict[T]], verdict: NeedMore
) -> Done[T] | Malformed:
    """What ``parse`` makes of the first bytes once there are enough of them."""
    while True:
        try:
            await side.more(verdict.at_least)
        except Ended:
            return Malformed("the client ended before it was clear")
        answer = parse(side.held)
        if not isinstance(answer, NeedMore):
            return answer
        verdict = answer
