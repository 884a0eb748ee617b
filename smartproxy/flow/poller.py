"""One epoll set for all of a proxy's own sockets, which is itself one descriptor in the reactor.

An epoll descriptor is readable when something in its set is ready, so it nests in any reactor that can
watch a descriptor. That buys two things. The reactor dispatches once for a batch of events instead of
once for each (its own dispatch costs about as much as the system call it leads to); and a socket is
registered once, edge-triggered, for its whole life, so that pausing and resuming cost no system call.

Edge-triggered means (epoll(7)): after an event for reading, read until a short count or EAGAIN, or call
:meth:`Poller.rearm`; after an event for writing, the same. A FIN or RST is an event even while nobody reads,
so a peer that leaves is noticed while its bytes are held back.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP
WRITABLE = select.EPOLLOUT
BROKEN = select.EPOLLERR
#: A FIN has come; there may be bytes before it, and no event will come when those have been read.
FIN_SEEN = select.EPOLLRDHUP | select.EPOLLHUP
_ALL = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

#: Events taken a turn. The rest of the reactor has its turn after each batch; HAProxy's default
#: (tune.maxpollevents) is 200.
_BATCH = 200

log = Logger()


class Pollable(Protocol):
    """Whoever looks after one descriptor."""

    def ready(self, events: int) -> None:
        """Something has changed. ``events`` is a hint: the socket itself has the truth."""

    def failed(self, why: Failure) -> None:
        """:meth:`ready` has raised; it is logged. Let go of the descriptor."""


@implementer(IReadDescriptor)
class Poller:
    """Readiness of many sockets.

    :param reactor: with ``IReactorFDSet`` and ``IReactorTime``.
    :param clock: monotonic seconds.
    :ivar now: monotonic seconds at the start of the current batch: the coarse clock of the byte path.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._epoll = select.epoll()
        self._watched: dict[int, Pollable] = {}
        self._closing: list[socket.socket] = []
        self._in_batch = False
        self.now = clock()

    # -- the sockets ---------------------------------------------------------------------------------

    def add(self, fd: int, owner: Pollable) -> None:
        """Watch ``fd``, once and for all its life. Events go to ``owner``."""
        self._epoll.register(fd, _ALL)
        self._watched[fd] = owner

    def hand_over(self, fd: int, owner: Pollable) -> None:
        """From now on somebody else looks after ``fd``. Costs no system call."""
        self._watched[fd] = owner

    def rearm(self, fd: int) -> None:
        """Report ``fd`` again although nothing new has come: its owner stopped before it was drained."""
        self._epoll.modify(fd, _ALL)

    def close(self, sock: socket.socket) -> None:
        """Close a watched socket, once.

        Within a batch the closing waits for the batch's end. Otherwise the number could be given to a new
        socket while an event for the old one is still in the batch.
        """
        if self._watched.pop(sock.fileno(), None) is None:
            return
        if self._in_batch:
            self._closing.append(sock)
        else:
            sock.close()

    def soon(self, call: Callable[..., object], *args: object) -> None:
        """Call it in the reactor's next turn: for what must not happen within the caller's own call."""
        self._reactor.callLater(0, call, *args)

    def __len__(self) -> int:
        return len(self._watched)

    # -- the reactor ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the reactor."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Leave the reactor. What is still watched loses its connection."""
        why = Failure(ConnectionAborted())
        for fd, owner in list(self._watched.items()):
            if self._watched.get(fd) is owner:  # one that was told before may have closed it, too
                self._tell(owner, why)
        self._reactor.removeReader(self)
        self._epoll.close()

    def fileno(self) -> int:
        """The set itself, to be watched by the reactor."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Twisted asks this before each event."""
        return "poller"

    def doRead(self) -> None:
        """Something is ready: tell the owners."""
        self.now = self._clock()
        watched = self._watched
        self._in_batch = True
        for fd, events in self._epoll.poll(0, _BATCH):
            owner = watched.get(fd)
            if owner is None:
                continue
            try:
                owner.ready(events)
            except Exception:
                self._failed(fd)
        self._in_batch = False
        if self._closing:
            self._close_all()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has lost the set itself; nothing can be done about it here."""

    def _close_all(self) -> None:
        closing, self._closing = self._closing, []
        for sock in closing:
            sock.close()

    def _failed(self, fd: int) -> None:
        """An owner has raised. Whom it has handed the descriptor over to before has to let go of it."""
        why = Failure()
        owner = self._watched.get(fd)
        if owner is None:
            log.failure("a socket's owner failed in its own code, after closing it", failure=why)
            return
        log.failure("{owner!r} failed in its own code; its socket is closed", failure=why, owner=owner)
        self._tell(owner, why)

    def _tell(self, owner: Pollable, why: Failure) -> None:
        try:
            owner.failed(why)
        except Exception:
            log.failure("{owner!r} could not be closed", owner=owner)
