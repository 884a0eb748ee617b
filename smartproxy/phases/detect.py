"""What does the client speak, and whom does it ask for? Looked at only where some route needs to know.

Where no route of a listener asks for more than ports and addresses, nobody waits for the client's first
bytes, so that protocols in which the server speaks first work. Where one does, the bytes are looked at and
stay where they are: the target gets them as they came. A client that asks whether there is TLS, and waits, is
the exception: its question is taken and answered, and what it says then is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.model.facts import Announced, ApplicationProtocol, Detected
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import client_hello, http_head
from smartproxy.wire.postgres import EncryptionAnswer, could_be_request
from smartproxy.wire.sniff import SniffedProtocol, sniff
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side

T = TypeVar("T")

#: Answers a client that asks for TLS first; what it was answered, or ``None`` where it does not.
StartTls: TypeAlias = "Callable[[Side], Awaitable[EncryptionAnswer | None]]"


class Detect:
    """Looks at the first bytes.

    :param needed: whether any route of the listener needs it.
    :param timeout: seconds in which enough must have come (``initialDataTimeout``); a byte extends nothing.
    :param start_tls: where some route of the listener has to do with TLS: see :mod:`smartproxy.phases.start_tls`.
    """

    def __init__(
        self, timeout: float, deadlines: Deadlines, *, needed: bool, start_tls: StartTls | None = None
    ) -> None:
        self._needed = needed
        self._start_tls = start_tls
        self._timeout = timeout
        self._deadlines = deadlines

    async def __call__(self, side: Side, announced: Announced) -> Detected:
        """What is known of the first bytes; they are still held.

        :raises Refused: where they do not come in time, or are TLS that is no TLS.
        :raises PeerClosed: where the client has left without a byte.
        """
        if not self._needed:
            return Detected(announced)
        due = self._deadlines.call_later(self._timeout, side.expire) if self._timeout else None
        try:
            if not side.buffered:
                await side.wait_for(1)
            seen = await self._look(side, announced)
            start_tls = self._start_tls
            if (
                start_tls is None
                or seen.protocol is not ApplicationProtocol.RAW
                or not could_be_request(side.buffered)
            ):
                return seen
            return await self._started(side, seen, start_tls)
        except DeadlineExpired:
            raise Refused(RejectReason.INITIAL_DATA_TIMEOUT) from None
        finally:
            if due is not None:
                due.cancel()

    async def _look(self, side: Side, announced: Announced) -> Detected:
        kind = sniff(side.buffered)
        if isinstance(kind, NeedMore):
            kind = await _decided(side, sniff, kind)
        if isinstance(kind, Done) and kind.value is SniffedProtocol.TLS:
            hello = client_hello.parse(side.buffered)
            if isinstance(hello, NeedMore):
                hello = await _decided(side, client_hello.parse, hello)
            if isinstance(hello, Malformed):
                raise Refused(RejectReason.TLS_ERROR, hello.why)
            return Detected(announced, ApplicationProtocol.TLS, hello=hello.value)
        if isinstance(kind, Done) and kind.value is SniffedProtocol.HTTP:
            request = http_head.parse(side.buffered)
            if isinstance(request, NeedMore):
                request = await _decided(side, http_head.parse, request)
            if isinstance(request, Done):
                return Detected(announced, ApplicationProtocol.HTTP, request=request.value)
        return Detected(announced, ApplicationProtocol.RAW)

    async def _started(self, side: Side, seen: Detected, start_tls: StartTls) -> Detected:
        """What comes behind a request for TLS, if ``seen`` is one; behind a yes, only a ClientHello may."""
        while seen.protocol is ApplicationProtocol.RAW and (answer := await start_tls(side)) is not None:
            seen = await self._look(side, seen.announced)
            if answer is EncryptionAnswer.WILLING:
                if seen.protocol is not ApplicationProtocol.TLS:
                    raise Refused(RejectReason.TLS_ERROR, "no ClientHello where one was asked for")
                return seen._replace(start_tls=True)
        return seen


async def _decided(
    side: Side, parse: Callable[[bytes], Verdict[T]], verdict: NeedMore
) -> Done[T] | Malformed:
    """What ``parse`` makes of the first bytes once there are enough of them."""
    while True:
        try:
            await side.wait_for(verdict.at_least)
        except PeerClosed:
            return Malformed("the client ended before it was clear")
        answer = parse(side.buffered)
        if not isinstance(answer, NeedMore):
            return answer
        verdict = answer
