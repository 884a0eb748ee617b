"""One epoll set for all of a proxy's own sockets, which is itself one descriptor in the reactor.

An epoll descriptor is readable when something in its set is ready, so it nests in any reactor that can
watch a descriptor. That buys two things. The reactor dispatches once for a batch of events instead of
once for each (its own dispatch costs about as much as the system call it leads to); and a socket is
registered once, edge-triggered, for its whole life, so that pausing and resuming cost no system call.

Edge-triggered means (epoll(7)): after an event for reading, read until a short count or EAGAIN, or call
:meth:`Poller.rearm`; after an event for writing, the same. A FIN or RST is an event even while nobody reads,
so a peer that leaves is noticed while its bytes are held back.

What is ready is told in the order in which it became so, but for one thing: where more is ready than one batch
takes, the ends among it are put off, and told some a turn. Else whoever lives would wait until all the
thousands that were lost at the same moment have been put away.
"""

from __future__ import annotations

import contextlib
import select
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
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
#: An event of one whose peer has ended something.
_END = FIN_SEEN | BROKEN
#: Ends told a turn, where more is ready than a batch: each is some 50 microseconds of work that nobody waits for.
_ENDS_A_TURN = 64

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
        self._ends: OrderedDict[int, int] = OrderedDict()
        self._again: IDelayedCall | None = None
        self.now = clock()

    # -- the sockets ---------------------------------------------------------------------------------

    def add(self, fd: int, owner: Pollable) -> None:
        """Watch ``fd``, once and for all its life. Events go to ``owner``."""
        self._epoll.register(fd, _ALL)
        self._watched[fd] = owner
        self._ends.pop(fd, None)  # it was said of whoever had the number before

    def hand_over(self, fd: int, owner: Pollable) -> None:
        """From now on somebody else looks after ``fd``. Costs no system call."""
        self._watched[fd] = owner

    def rearm(self, fd: int) -> None:
        """Report ``fd`` again although nothing new has come: its owner stopped before it was drained."""
        self._epoll.modify(fd, _ALL)

    def close(self, sock: socket.socket, owner: object) -> None:
        """Close a watched socket of ``owner``, once.

        Within a batch the closing waits for the batch's end. Otherwise the number could be given to a new
        socket while an event for the old one is still in the batch.
        """
        fd = sock.fileno()
        if self._watched.get(fd) is not owner:
            self._forget(sock, owner)
            return
        del self._watched[fd]
        if self._in_batch:
            self._closing.append(sock)
        else:
            _close(sock)

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
        if self._again is not None:
            self._again.cancel()
            self._again = None
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
        self._in_batch = True
        room = _BATCH
        while room > 0:
            ready = self._epoll.poll(0, _BATCH)
            crowd = len(ready) == _BATCH
            if crowd or self._ends:
                ready = self._without_ends(ready)
            self._tell_all(ready)
            room -= len(ready)
            if not crowd:
                break
        if self._ends:
            self._tell_ends()
        self._in_batch = False
        if self._closing:
            self._close_all()

    def _tell_all(self, ready: list[tuple[int, int]]) -> None:
        watched = self._watched
        for fd, events in ready:
            owner = watched.get(fd)
            if owner is None:
                continue
            try:
                owner.ready(events)
            except Exception:
                self._failed(fd)

    def _without_ends(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """What is ready, but for the ends among it: they are kept."""
        ends = self._ends
        for fd, events in ready:
            if events & _END:
                ends[fd] = ends.get(fd, 0) | events
        return [each for each in ready if not each[1] & _END]

    def _tell_ends(self) -> None:
        """Some of them, the oldest first; the others in the next turn."""
        count = min(_ENDS_A_TURN, len(self._ends))
        self._tell_all([self._ends.popitem(last=False) for _ in range(count)])
        if self._ends and self._again is None:
            self._again = self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._again = None
        self.doRead()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has lost the set itself; nothing can be done about it here."""

    def _close_all(self) -> None:
        closing, self._closing = self._closing, []
        for sock in closing:
            _close(sock)

    def _forget(self, sock: socket.socket, owner: object) -> None:
        """``owner`` has closed before, or somebody has closed its descriptor under us."""
        if sock.fileno() in self._watched:
            sock.detach()  # the number is another's by now, whose connection must not be closed with this
        for fd in [fd for fd, other in self._watched.items() if other is owner]:
            del self._watched[fd]

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


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # a descriptor that somebody has closed under us
        sock.close()
