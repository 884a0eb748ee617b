"""A transport that gives its socket to a borrower for a time: for a body of HTTP that is moved through a pipe."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from smartproxy.net.on_socket import OnSocket
from smartproxy.net.stream_states import StreamOutput

if TYPE_CHECKING:
    import socket

    from twisted.python.failure import Failure

    from smartproxy.net.detach import SocketBorrower
    from smartproxy.net.poller import Poller


class LendsSocket(OnSocket):
    """The base of :class:`~smartproxy.net.stream.Stream` that has its states."""

    __slots__ = ("_borrower", "_broken", "_marked", "_poller", "_readable", "_reads_to_end")

    _borrower: SocketBorrower | None
    _broken: int
    _marked: bool
    _out: bytes | bytearray | None
    _output: StreamOutput
    _poller: Poller
    _readable: bool
    _reads_to_end: bool

    def ready(self, events: int) -> None:
        """See :class:`~smartproxy.net.poller.Pollable`."""
        raise NotImplementedError

    def failed(self, why: Failure) -> None:
        """See :class:`~smartproxy.net.poller.Pollable`."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what was gathered in the poller's batch."""
        raise NotImplementedError

    def read_to_end(self, *, wanted: bool = True) -> None:
        """Whether a reset during a pause ends the connection when what was received before is read; by default at once."""
        self._reads_to_end = wanted

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait that the kernel has not taken."""
        return bool(self._out)

    @property
    def _is_read_by_borrower(self) -> bool:
        """Whether the direction that is lent is the one that is read."""
        return self._borrower is not None and self._borrower.reads

    def lend(self, borrower: SocketBorrower) -> socket.SocketType | None:
        """Give the socket to ``borrower`` for a time, with its events; ``None`` where it is lent, or has bytes to send, or was lost.

        Until :meth:`take_back`, the borrower reads or writes in place of this transport, and passes on the events of the other
        direction. So only one direction can be lent at a time.
        """
        self.flush()
        if self._borrower is not None or self._out or self._marked or self._broken:
            return None
        if self._output is not StreamOutput.OPEN:
            return None
        self._borrower = borrower
        self._poller.hand_over(self._sock.fileno(), borrower)
        return self._sock

    def take_back(self) -> None:
        """The borrower does not use the socket any more. Whatever it is ready for is reported again."""
        self._borrower = None
        self._poller.hand_over(self._sock.fileno(), self)
        self._readable = True
        self._poller.rearm(self._sock.fileno())

    def met_error(self, why: OSError) -> None:
        """A call on the socket has failed: the kernel reports an error once, and the poller is to report it here."""
        self._broken = self._broken or why.errno or errno.EPIPE
        self._poller.rearm(self._sock.fileno())

    def _call_back(self) -> None:
        """The connection ends by other means than its borrower's: have the socket back, to close it."""
        if self._borrower is not None:
            self._borrower.stop()
