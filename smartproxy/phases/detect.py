"""Detection of the client's protocol, and of the name it asks for, where some route needs them.

Where the routes of a listener match by ports and addresses only, nothing waits for the client's first bytes, so that
protocols in which the server speaks first work. Else the first bytes are parsed and stay buffered: the target gets them
as they were received. A client that first asks whether TLS is available (PostgreSQL) is the exception: its request is
consumed and answered, and what it sends then is parsed. A client that waits for the server to speak first sends nothing: a
route may take it after a time (``silence``). A PostgreSQL client may also connect to cancel a query
(:mod:`smartproxy.phases.forward_cancel`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from smartproxy.errors import DeadlineExpired, HandshakeRefused, PeerClosed, Refused
from smartproxy.flow.side import destination_of
from smartproxy.model.facts import Announced, ApplicationProtocol, Detected
from smartproxy.model.outcome import EndedBy, RejectReason
from smartproxy.wire import client_hello
from smartproxy.wire.http_head import HeadParser, precedes_request, resembles_request
from smartproxy.wire.postgres import EncryptionAnswer, could_be_request, parse_cancel
from smartproxy.wire.sniff import SniffedProtocol, sniff
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.model.plan import RoutePlan

T = TypeVar("T")

_CUT = Malformed("the client sent a FIN within its first bytes")

#: Answers a client that asks for TLS first. Gives the answer, or ``None`` where the client does not ask.
StartTls: TypeAlias = "Callable[[Side], Awaitable[EncryptionAnswer | None]]"


class Detect:
    """Detects the protocol of a connection.

    :param timeout: seconds in which enough bytes must be received (``initialDataTimeout``). A byte does not extend it.
    :param needed: whether some route of the listener needs the first bytes.
    :param start_tls: where some route of the listener expects TLS: see :mod:`smartproxy.phases.start_tls`.
    :param silence: where some route of the listener takes silent clients: finds that route for one, if there is any.
    :param head_parser: makes what parses the head of a request.
    :param has_addresses: whether the local address matters where the client asks for no name: some route has addresses among
        its domains.
    :param cancels: whether PostgreSQL's requests to cancel a query are detected without ``start_tls``, too.
    """

    def __init__(
        self,
        timeout: float,
        deadlines: Deadlines,
        *,
        needed: bool,
        start_tls: StartTls | None = None,
        silence: Callable[[Detected], RoutePlan | None] | None = None,
        cancels: bool = False,
        has_addresses: bool = False,
        head_parser: Callable[[], HeadParser] = HeadParser,
    ) -> None:
        self._head_parser = head_parser
        self._silence = silence
        self._needed = needed
        self._has_addresses = has_addresses
        self._start_tls = start_tls
        self._cancels = cancels or start_tls is not None
        self._timeout = timeout
        self._deadlines = deadlines

    async def __call__(self, side: Side, announced: Announced) -> Detected:
        """The facts with protocol and name; the first bytes stay buffered.

        :raises Refused: where they are not received in time, or are a malformed ClientHello.
        :raises PeerClosed: where the client disconnected before the first byte.
        """
        if not self._needed:
            return Detected(announced)
        due = self._deadlines.call_later(self._timeout, side.expire) if self._timeout else None
        try:
            if not side.buffered and self._silence is not None:
                silent = Detected(announced, silent=True)
                if await self._is_silent(side, self._silence(silent)):
                    return silent
            elif not side.buffered:
                await side.wait_for(1)
            seen = await self._look(side, announced)
            if (
                not self._cancels
                or seen.protocol is not ApplicationProtocol.RAW
                or not could_be_request(side.buffered)
            ):
                return seen
            if self._start_tls is not None:
                seen = await self._started(side, seen, self._start_tls)
            is_cancel = seen.protocol is ApplicationProtocol.RAW and await _is_cancel(side)
            return seen._replace(cancel=is_cancel)
        except DeadlineExpired:
            raise Refused(RejectReason.INITIAL_DATA_TIMEOUT, self._late(side)) from None
        finally:
            if due is not None:
                due.cancel()

    def _late(self, side: Side) -> str:
        received = f"incomplete after {len(side.buffered)} bytes" if side.buffered else "no byte was received"
        return f"{received} in {self._timeout:g} s (initialDataTimeout)"

    async def _is_silent(self, side: Side, route: RoutePlan | None) -> bool:
        """Wait for the first byte, and return whether there is none in the time that ``route`` gives a client.

        ``initialDataTimeout`` may be shorter. Then the client goes to ``route`` when it ends.
        """
        if route is None:
            await side.wait_for(1)
            return False
        due = self._deadlines.call_later(route.silence, side.expire)
        try:
            await side.wait_for(1)
        except DeadlineExpired:
            return True
        finally:
            due.cancel()
        return False

    async def _look(self, side: Side, announced: Announced) -> Detected:
        kind = sniff(side.buffered)
        if isinstance(kind, NeedMore):
            kind = await _decided(side, sniff, kind)
        if isinstance(kind, Done) and kind.value is SniffedProtocol.TLS:
            hello = client_hello.parse(side.buffered)
            if isinstance(hello, NeedMore):
                hello = await _decided(side, client_hello.HelloParser(), hello)
            if isinstance(hello, Malformed):
                side_of_end = EndedBy.CLIENT if hello is _CUT else None
                raise HandshakeRefused(hello.why, client_hello.alert_for(hello), side_of_end)
            is_nameless = self._has_addresses and hello.value.server_name is None
            local = destination_of(announced, side).host if is_nameless else None
            return Detected(announced, ApplicationProtocol.TLS, hello=hello.value, local=local)
        if isinstance(kind, Done) and kind.value is SniffedProtocol.HTTP:
            parse = self._head_parser()
            request = parse(side.buffered)
            if isinstance(request, NeedMore):
                request = await _decided(side, parse, request)
            if isinstance(request, Done):
                return Detected(announced, ApplicationProtocol.HTTP, request=request.value)
            malformed = resembles_request(side.buffered)
            return Detected(announced, ApplicationProtocol.RAW, malformed=malformed)
        return Detected(announced, ApplicationProtocol.RAW, malformed=precedes_request(side.buffered))

    async def _started(self, side: Side, seen: Detected, start_tls: StartTls) -> Detected:
        """What follows a request for TLS, if ``seen`` is one. After a positive answer only a ClientHello may follow."""
        while seen.protocol is ApplicationProtocol.RAW and (answer := await start_tls(side)) is not None:
            seen = await self._look(side, seen.announced)
            if answer is EncryptionAnswer.WILLING:
                if seen.protocol is not ApplicationProtocol.TLS:
                    raise Refused(RejectReason.TLS_ERROR, "not a ClientHello after the request for TLS")
                return seen._replace(start_tls=True)
        return seen


async def _is_cancel(side: Side) -> bool:
    """Whether a CancelRequest is all that ``side`` has sent, waiting for as many bytes as it takes to tell."""
    while True:
        verdict = parse_cancel(side.buffered)
        if not isinstance(verdict, NeedMore):
            return isinstance(verdict, Done) and verdict.consumed == len(side.buffered)
        try:
            await side.wait_for(verdict.at_least)
        except PeerClosed:
            return False


async def _decided(
    side: Side, parse: Callable[[bytes | bytearray], Verdict[T]], verdict: NeedMore
) -> Done[T] | Malformed:
    """The verdict of ``parse`` on the first bytes, once enough are received.

    A client may send them one by one, so ``parse`` is one that remembers what it has looked at.
    """
    while True:
        try:
            await side.wait_for(verdict.at_least)
        except PeerClosed:
            return _CUT
        answer = parse(side.buffered)
        if not isinstance(answer, NeedMore):
            return answer
        verdict = answer
