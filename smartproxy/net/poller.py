"""One epoll set for all of a proxy's own sockets, which is itself one descriptor in the reactor.

An epoll descriptor is readable when something in its set is ready, so it nests in any reactor that can
watch a descriptor. That buys two things. The reactor dispatches once for a batch of events instead of
once for each (its own dispatch costs about as much as the system call it leads to); and a socket is
registered once, edge-triggered, for its whole life, so that pausing and resuming cost no system call.

Edge-triggered means (epoll(7)): after an event for reading, read until EAGAIN, or until a short count if the event was not
:data:`MARKED`, or call :meth:`Poller.rearm`; after an event for writing, likewise. A FIN or RST is an event even for a socket that is not read,
so a lost peer is noticed while its bytes are held back.

Events are dispatched in the order in which the kernel reports them, with one exception: when more sockets are ready than
one batch has, events that report an end are deferred, and some of them are dispatched after each batch. Otherwise live
connections would wait until thousands that were lost at the same moment have been cleaned up.

A turn takes :data:`BUDGET` seconds. Events for which no time is left are dispatched first in the next turn, in their order; and
an event that could move megabytes stops when its share of the turn is over (:meth:`Poller.is_over`).
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
from zope.interface import classImplements

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

#: Urgent data is readable, too: the read that finds nothing else removes the mark, at which splice(2) would stop for ever.
READABLE = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP
WRITABLE = select.EPOLLOUT
BROKEN = select.EPOLLERR
#: A FIN or urgent data was received. A read stops before either, and no event follows for what is behind: so a short read
#: has not emptied the socket (tcp(7)). Urgent data that comes after the event is an event of its own.
MARKED = select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP
_ALL = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

#: Seconds of one turn of the event loop that events may take; the last one may exceed them, by its share at most. The rest of
#: the reactor, timers and the admin API among it, has its turn in between.
BUDGET = 0.010
#: Events of a batch that end in time without a look at the clock after each: each stops when its share is over.
_FEW = 8
#: Events of one batch, after which the rest of the reactor is served. HAProxy's default (tune.maxpollevents) is 200.
_BATCH = 200
#: An event that reports the end of a direction, or of the connection.
_END = select.EPOLLRDHUP | select.EPOLLHUP | BROKEN
#: Deferred ends dispatched after a batch. Each costs some 50 microseconds, and no peer waits for it.
_ENDS_A_BATCH = 64

log = Logger()


class Pollable(Protocol):
    """Event handler of one file descriptor."""

    def ready(self, events: int) -> None:
        """Handle ``events``. They are a hint, and may be out of date: only the socket itself is right."""

    def failed(self, why: Failure) -> None:
        """Close the descriptor: :meth:`ready` raised ``why``, which is logged, or the poller stops."""


class Writer(Protocol):
    """Has something to send that may wait for the end of the batch."""

    def flush(self) -> None:
        """Send it."""

    def getHandle(self) -> socket.SocketType:
        """The socket."""


class Poller:
    """Reports the readiness of many sockets to their owners.

    :param reactor: has ``IReactorFDSet`` and ``IReactorTime``, for which Twisted has no common type.
    :param clock: monotonic seconds.
    :ivar now: monotonic seconds at the start of the current batch: the coarse clock of the byte path.
    :ivar writers: those whose output is sent at the end of the current batch; ``None`` where there is none. To send them one
        after the other wakes a peer process once: it is still awake when the next bytes for it come.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._epoll = select.epoll()
        self._watched: dict[int, Pollable] = {}
        self._closing: list[socket.SocketType] = []
        self._in_batch = False
        self._ends: OrderedDict[int, int] = OrderedDict()
        self._postponed: OrderedDict[int, int] = OrderedDict()
        self._turn_ends = self._event_ends = 0.0
        self._again: IDelayedCall | None = None
        self._soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.now = clock()
        self.writers: list[Writer] | None = None

    # -- the sockets ---------------------------------------------------------------------------------

    def add(self, fd: int, owner: Pollable) -> None:
        """Watch ``fd`` until it is closed. Its events go to ``owner``."""
        # Both directions at once and for good: waiting for less and changing that would be a system call each time.
        self._epoll.register(fd, _ALL)
        self._watched[fd] = owner
        # An event of a closed socket that had the same number.
        self._ends.pop(fd, None)
        self._postponed.pop(fd, None)

    def hand_over(self, fd: int, owner: Pollable) -> None:
        """Send the events of ``fd`` to another owner from now on. It costs no system call."""
        self._watched[fd] = owner

    def rearm(self, fd: int) -> None:
        """Have ``fd`` reported again without new data: its owner stopped before it was drained."""
        self._epoll.modify(fd, _ALL)

    def close(self, sock: socket.SocketType, owner: object) -> None:
        """Close a watched socket of ``owner``, once.

        Within a batch, the socket is closed at the batch's end. Otherwise the kernel could give its number to a new
        socket while an event of the old one is still in the batch.
        """
        fd = sock.fileno()
        # The number may belong to another owner by now, if the descriptor was closed elsewhere.
        if self._watched.get(fd) is not owner:
            self._forget(sock, owner)
            return
        del self._watched[fd]
        if self._in_batch:
            self._closing.append(sock)
        else:
            _close(sock)

    def flush(self) -> None:
        """Send what was gathered so far in this batch."""
        writers = self.writers
        if not writers:
            return
        self.writers = None  # what they are asked to write now is sent at once
        for writer in writers:
            try:
                writer.flush()
            except Exception:
                self._failed(writer.getHandle().fileno())
        self.writers = []

    def soon(self, call: Callable[..., object], *args: object) -> None:
        """Call it in the next event loop iteration: for what must not happen within the caller's own call."""
        # One timer of the reactor for all that there is, because each costs as much as the call.
        if not self._soon:
            self._reactor.callLater(0, self._call_soon)
        self._soon.append((call, args))

    def _call_soon(self) -> None:
        calls, self._soon = self._soon, []
        for call, args in calls:
            try:
                call(*args)
            except Exception:
                log.failure("a call of the poller failed")

    def __len__(self) -> int:
        return len(self._watched)

    # -- the reactor ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Make sockets watchable again after :meth:`stop`."""
        if self._epoll.closed:
            self._epoll = select.epoll()

    def start(self) -> None:
        """Add the poller to the reactor."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Remove the poller from the reactor. Connections that are still watched are lost."""
        why = Failure(ConnectionAborted())
        for fd in list(self._watched):
            # In this loop another owner may have closed it, or a borrower given it back to its transport.
            owner = self._watched.get(fd)
            if owner is not None:
                self._close_owner(owner, why)
        self._reactor.removeReader(self)
        self._ends.clear()
        self._postponed.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._epoll.close()

    def fileno(self) -> int:
        """The descriptor of the epoll set, which the reactor watches."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Twisted calls this for each event."""
        return "poller"

    def doRead(self) -> None:
        """Dispatch events to their owners, those that were postponed first, until the time of a turn is used up."""
        self.now = self._clock()
        self._turn_ends = self.now + BUDGET
        self._in_batch = True
        self.writers = []
        in_time = True
        if self._postponed:
            postponed, self._postponed = self._postponed, OrderedDict()
            in_time = self._dispatch(list(postponed.items()))
        # Otherwise what is left has waited for longer.
        if in_time:
            self._dispatch_ready()
        self.flush()
        self.writers = None
        # No event of the batch is left that is not known to add(), so the numbers may be reused.
        self._in_batch = False
        if self._closing:
            self._close_all()
        if (self._ends or self._postponed) and self._again is None:
            self._again = self._reactor.callLater(0, self._go_on)

    def _dispatch_ready(self) -> None:
        """Dispatch one batch of what is ready now."""
        room = _BATCH
        in_time = True
        # An event may have stopped the poller.
        while room > 0 and in_time and not self._epoll.closed:
            ready = self._epoll.poll(0, _BATCH)
            # A full answer means that there is more; a short one, that everything ready is in it.
            crowd = len(ready) == _BATCH
            # Once some are deferred, later ones of the same socket must not overtake them.
            if crowd or self._ends:
                ready = self._defer_ends(ready)
            in_time = self._dispatch(ready)
            room -= len(ready)
            if not crowd:
                break
        if self._ends:
            self._dispatch_ends(_ENDS_A_BATCH if in_time else _FEW)

    def _dispatch(self, ready: list[tuple[int, int]]) -> bool:
        """Dispatch events, and postpone those for which no time is left in this turn. Returns whether there was enough."""
        watched = self._watched
        share = BUDGET / (len(ready) or 1)
        self._event_ends = self.now
        # The clock costs a tenth of a microsecond. A few events need it only if they move megabytes, and ask themselves.
        crowd = len(ready) > _FEW
        left = iter(ready)
        for fd, events in left:
            owner = watched.get(fd)
            if owner is None:
                continue  # closed by an earlier event of this batch
            self._event_ends += share
            try:
                owner.ready(events)
            except Exception:
                self._failed(fd)
            if crowd and self._clock() >= self._turn_ends:
                break
        else:
            return True
        for fd, events in left:
            if fd in watched:
                self._postpone(fd, events)
        return False

    def _postpone(self, fd: int, events: int) -> None:
        self._postponed[fd] = self._postponed.get(fd, 0) | events

    def is_over(self) -> bool:
        """Whether the event that is being handled has used its share of the turn up: the rest is for others."""
        return self._clock() >= self._event_ends

    def again(self, fd: int) -> None:
        """Report ``fd`` as readable in the next turn: its owner holds bytes for which the kernel has no event."""
        self._postpone(fd, READABLE)
        if self._again is None:
            self._again = self._reactor.callLater(0, self._go_on)

    def _defer_ends(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Defer the events that report an end. Returns the others."""
        ends = self._ends
        for fd, events in ready:
            if events & _END:
                ends[fd] = ends.get(fd, 0) | events
        return [each for each in ready if not each[1] & _END]

    def _dispatch_ends(self, most: int) -> None:
        """Dispatch some of the deferred ends, oldest first; the others follow in the next event loop iteration."""
        count = min(most, len(self._ends))
        self._dispatch([self._ends.popitem(last=False) for _ in range(count)])

    def _go_on(self) -> None:
        self._again = None
        self.doRead()

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: without the epoll set, no event will be reported any more."""

    def _close_all(self) -> None:
        closing, self._closing = self._closing, []
        for sock in closing:
            _close(sock)

    def _forget(self, sock: socket.SocketType, owner: object) -> None:
        """Forget what ``owner`` watches: it has closed before, or its descriptor was closed elsewhere."""
        if sock.fileno() in self._watched:
            sock.detach()  # the number belongs to another connection by now, which must not be closed
        for fd in [fd for fd, other in self._watched.items() if other is owner]:
            del self._watched[fd]

    def _failed(self, fd: int) -> None:
        """Log the exception that an owner raised, and have the descriptor closed by whoever owns it now."""
        why = Failure()
        owner = self._watched.get(fd)
        if owner is None:
            log.failure("a socket's owner failed in its own code, after closing it", failure=why)
            return
        log.failure("a {owner} failed in its own code; its socket is closed", failure=why, owner=_kind(owner))
        self._close_owner(owner, why)

    def _close_owner(self, owner: Pollable, why: Failure) -> None:
        try:
            owner.failed(why)
        except Exception:
            log.failure("a {owner} could not be closed", owner=_kind(owner))


classImplements(Poller, IReadDescriptor)


def _kind(owner: Pollable) -> str:
    """For a log line: the name of its class."""
    return type(owner).__name__


def _close(sock: socket.SocketType) -> None:
    with contextlib.suppress(OSError):  # the descriptor may have been closed elsewhere
        sock.close()
