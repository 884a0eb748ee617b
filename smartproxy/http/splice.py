"""A body of known length, moved from socket to socket through a pipe: it never enters this process.

::

    moving = splicer.start(source, sink, left, moved, ended)                # None: copy it
    sending = splicer.send_file(fd, at, left, sink, moved, ended)           # a part of a file, likewise

One direction of both sockets is lent for it. It goes as far as it can, and gives them back: when everything is moved, and also where a mark of
urgent data, an end or an error comes first. What is left is then read and written in the usual way, which finds out why.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

from smartproxy.http.body import LEAST_MOVED
from smartproxy.http.send_file import FileSending
from smartproxy.http.written_end import WrittenEnd
from smartproxy.net.poller import BROKEN, MARKED, WRITABLE
from smartproxy.net.stream import Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.net.poller import Poller
    from smartproxy.relays.pipes import Pipe, PipePool

#: Pipes filled in one turn at the most, so that a fast transfer does not delay other connections: 8 MiB. Beside many others, one.
_TURNS: Final = 8
#: Seconds without progress after which the pipe may be given to another transfer.
_STALLED: Final = 1.0
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "splice") else 0


class Splicer:
    """Begins to move bodies.

    :param pool: of pipes; ``None`` where nothing is spliced.
    """

    def __init__(self, poller: Poller | None, pool: PipePool | None) -> None:
        self._poller = poller
        self._pool = pool

    def start(
        self,
        source: object,
        sink: object,
        left: int,
        moved: Callable[[int], None],
        ended: Callable[[int], None],
    ) -> BodySplice | None:
        """Move ``left`` bytes from one transport to another; ``None`` where they have to be copied.

        :param moved: called with each number of bytes that the sink has taken.
        :param ended: called with the number of bytes that are left, once the sockets are given back.
        """
        if self._poller is None or self._pool is None or left < LEAST_MOVED:
            return None
        if not isinstance(source, Stream) or not isinstance(sink, Stream):
            return None
        moving = BodySplice(source, sink, left, self._poller, self._pool, moved, ended)
        return moving if moving.begin() else None

    def send_file(
        self,
        fd: int,
        at: int,
        left: int,
        sink: object,
        moved: Callable[[int], None],
        ended: Callable[[int], None],
    ) -> FileSending | None:
        """Move ``left`` bytes of a file, from ``at``, to a transport; ``None`` where they have to be read. See :meth:`start`."""
        if self._poller is None or self._pool is None or left < LEAST_MOVED or not isinstance(sink, Stream):
            return None
        sending = FileSending(fd, at, left, sink, self._poller, moved, ended)
        return sending if sending.begin() else None


class BodySplice:
    """One body that is being moved: the borrower of a pipe.

    :ivar is_blocked: whether the sink takes nothing more now.
    """

    def __init__(
        self,
        source: Stream,
        sink: Stream,
        left: int,
        poller: Poller,
        pool: PipePool,
        moved: Callable[[int], None],
        ended: Callable[[int], None],
    ) -> None:
        self.source = source
        self.sink = sink
        self._poller = poller
        self._pool = pool
        self._moved = moved
        self._ended = ended
        self._left = left  # to be read
        self._waiting = 0  # in the pipe
        self._pipe: Pipe | None = None
        self._held = b""  # what was in a pipe that the pool has taken back
        self._is_over = False
        self._from: socket.SocketType
        self._to: socket.SocketType
        self._is_dry = False  # whether the source gives no more bytes that can be spliced
        self.is_blocked = False
        self._moved_at = 0.0  # when bytes last entered the pipe or left it

    def begin(self) -> bool:
        """Borrow a pipe and the sockets, and move what there is. Returns whether they could be had."""
        pipe = self._pool.lend(self)
        if pipe is None:
            return False
        self._pipe = pipe
        to = self.sink.lend(WrittenEnd(self))
        if to is None:
            self._give_back_pipe()
            return False
        source = self.source.lend(_ReadEnd(self))
        if source is None:
            self.sink.take_back()
            self._give_back_pipe()
            return False
        self._from, self._to = source, to
        # Not at once: who has begun it is to know of it before it ends.
        self._poller.rearm(source.fileno())
        return True

    def stop(self) -> None:
        """Give everything back. What is in the pipe is lost: its connection has ended, or does so now."""
        if not self._is_over:
            self._is_over = True
            self._give_back_pipe()
            self._let_go()
            self.source.take_back()
            self.sink.take_back()

    def pump(self) -> None:
        """Move what there is, within the limit of a turn."""
        turns = _TURNS
        while not self._is_over and self._drain():
            if not self._left or self._is_dry:
                self._finish()
                return
            # One pipe is always filled, whatever the time is. Only with nothing in it may the rest wait for the source's event.
            if not turns or (turns < _TURNS and self._poller.is_over()):
                self._poller.rearm(self._from.fileno())
                return
            turns -= 1
            if not self._fill():
                return

    def _fill(self) -> bool:
        """Read into the pipe, which is empty. Returns whether it is worth to go on."""
        pipe = self._pipe
        assert pipe is not None  # noqa: S101 - it is given back at the end only
        try:
            got = os.splice(self._from.fileno(), pipe.write, min(self._left, pipe.size), flags=_FLAGS)
        except BlockingIOError:
            return False
        except OSError as failed:
            if failed.errno != errno.EINVAL:  # a kind of socket that cannot be spliced
                self.source.met_error(failed)
            got = 0
        self._is_dry = not got
        self._left -= got
        self._waiting = got
        self._moved_at = self._poller.now
        return True

    def _drain(self) -> bool:
        """Write what was read. Returns whether all of it was taken."""
        try:
            while self._waiting:
                sent = self._write()
                self._waiting -= sent
                self._moved_at = self._poller.now
                self._moved(sent)
                if self._is_over:
                    return False  # ended by who was told
        except BlockingIOError:
            self.is_blocked = True
            return False
        except OSError as failed:
            self.stop()
            self.sink.met_error(failed)  # the transport tells who has begun this
            return False
        self.is_blocked = False
        self._let_go()
        return True

    def _write(self) -> int:
        if self._held:
            return self._to.send(memoryview(self._held)[-self._waiting :])
        assert self._pipe is not None  # noqa: S101 - what waits is in either
        return os.splice(self._pipe.read, self._to.fileno(), self._waiting, flags=_FLAGS)

    def _finish(self) -> None:
        self.stop()
        self._ended(self._left)

    def dry_up(self) -> None:
        """The source can only be read in another way from here on."""
        self._is_dry = True
        self.pump()

    def _give_back_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pool.take_back(self, pipe, empty=not self._waiting)

    # -- for the pool ----------------------------------------------------------------------------------

    @property
    def is_stalled(self) -> bool:
        """Whether the sink has taken nothing for a while."""
        return self.is_blocked and self._poller.now - self._moved_at >= _STALLED

    def empty_pipe(self) -> None:
        """Return the pipe, and keep what was in it. What the source has behind that is copied."""
        pipe, self._pipe = self._pipe, None
        assert pipe is not None  # noqa: S101 - the pool asks only those that have borrowed one
        while len(self._held) < self._waiting:
            self._held += os.read(pipe.read, self._waiting - len(self._held))
        self._is_dry = True
        self._pool.reclaimed += len(self._held)
        self._pool.take_back(self, pipe, empty=True)

    def _let_go(self) -> None:
        """What was taken out of a pipe is not in memory any more."""
        if self._held:
            self._pool.reclaimed -= len(self._held)
            self._held = b""


class _ReadEnd:
    """Gets the events of the socket that is read."""

    __slots__ = ("_moving",)

    reads: ClassVar[bool] = True

    def __init__(self, moving: BodySplice) -> None:
        self._moving = moving

    def ready(self, events: int) -> None:
        """Read; where more than bytes is reported, up to there. Its other direction is not lent."""
        moving = self._moving
        if events & WRITABLE:
            moving.source.ready(WRITABLE)
        moving.pump()
        if events & (MARKED | BROKEN):
            moving.dry_up()

    def stop(self) -> None:
        """The connection is ended by other means."""
        self._moving.stop()

    def failed(self, why: Failure) -> None:
        """The poller stops, or something has raised an exception."""
        self._moving.stop()
        self._moving.source.failed(why)
