"""Sends replies as fast as their clients read them, in bounded memory.

::

    outbox = Outbox(clock)
    outbox.send(http_request, body)      # its status and headers are set

A client that does not read must not make the proxy copy its reply: a body is written in pieces, the next one when the
transport has sent the one before. A request is finished when its last piece has been sent, so that twisted.web does not
answer pipelined requests of a client that does not read.

Still, a reply stays in memory while its client is slow. So the oldest of the stalled replies are aborted when there are too
many of them, or when they hold too many bytes; a body that several clients are sent counts once. A client that reads takes
milliseconds for a reply, so the oldest stalled one is not its.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.server import Request

#: Bytes of a reply that are written at once: what a transport of Twisted buffers before it pauses its producer.
PIECE = 64 * 1024
#: Seconds without progress after which a reply is aborted: HAProxy's and nginx's usual limit for a client that does not read.
STALLED = 60.0
#: Largest number of stalled replies, each with a piece or two in its transport; and of bytes that their bodies hold
#: together. The page of 10,000 routes with all histograms is 27 MB.
MAX_STALLED, MAX_HELD = 256, 64 * 1024 * 1024

log = Logger()


@implementer(IPushProducer)
class _Sending:
    """One reply that is being sent."""

    def __init__(self, outbox: Outbox, request: Request, body: bytes | bytearray) -> None:
        self.body = body
        self._outbox = outbox
        self._request = request
        self._sent = 0
        self._is_paused = self._has_ended = False
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The transport has enough to send."""
        self._is_paused = True
        if self._timer is None:
            self._timer = self._outbox.clock.callLater(STALLED, self.abort)
            self._outbox.hold(self)

    def resumeProducing(self) -> None:
        """The transport has sent everything that was written."""
        self._release()
        self._is_paused = self._has_ended
        while not self._is_paused:
            if self._sent >= len(self.body) and self._sent:
                self._finish()
                return
            self._request.write(bytes(self.body[self._sent : self._sent + PIECE]))
            self._sent += PIECE

    def stopProducing(self) -> None:
        """The client has closed the connection."""
        self._end()

    def abort(self) -> None:
        """Close the connection: its client is too slow."""
        self._end()
        channel: Any = self._request.channel
        log.info("admin: a reply to {peer} was aborted: its client does not read", peer=channel.getPeer())
        channel.transport.abortConnection()

    def _finish(self) -> None:
        self._end()
        self._request.unregisterProducer()
        self._request.finish()

    def _end(self) -> None:
        self._is_paused = self._has_ended = True
        self._release()
        self.body = (
            b""  # the request and its channel are a reference cycle: the garbage collector may take its time
        )

    def _release(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            if timer.active():
                timer.cancel()
            self._outbox.release(self)


class Outbox:
    """The replies of one listener that are being sent.

    :param clock: for the timeouts of clients that do not read.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._stalled: dict[_Sending, None] = {}
        self._holders: Counter[int] = Counter()
        self._held = 0

    def send(self, request: Request, body: bytes | bytearray) -> None:
        """Write ``body`` and finish ``request``, as its client reads."""
        _Sending(self, request, body).start()

    def hold(self, sending: _Sending) -> None:
        """A reply has stalled. Abort the oldest ones that are too many."""
        self._stalled[sending] = None
        self._holders[id(sending.body)] += 1
        if self._holders[id(sending.body)] == 1:
            self._held += len(sending.body)
        while len(self._stalled) > 1 and (len(self._stalled) > MAX_STALLED or self._held > MAX_HELD):
            next(iter(self._stalled)).abort()

    def release(self, sending: _Sending) -> None:
        """A stalled reply goes on, or has ended."""
        del self._stalled[sending]
        self._holders[id(sending.body)] -= 1
        if not self._holders[id(sending.body)]:
            del self._holders[id(sending.body)]
            self._held -= len(sending.body)
