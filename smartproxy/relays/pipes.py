"""A pool of pipes to splice through. A direction borrows one while it is busy, and returns it empty.

Size is what makes splicing cheap: through a pipe of 1 MiB a gigabyte costs 0.28 s of CPU, through one of
64 KiB 0.47 s. But the pages of all pipes of a user are counted (fs.pipe-user-pages-soft, 16,384 without
privileges: 64 pipes of 1 MiB). When the kernel refuses 1 MiB, the pool asks for less, and when there is no
pipe, the relay copies.

A direction whose peer does not read would keep its pipe for as long as that lasts. So the number of pipes is limited, and when
all are lent, one is taken back from a direction that has been stalled for a second: its bytes are moved to this process's
memory, within a limit, too. No pipe takes a descriptor of the reserve that accepting leaves free.
"""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple, Protocol

from smartproxy.net.descriptors import highest_descriptor

#: Sizes in bytes, in order of preference. fs.pipe-max-size is 1 MiB by default (pipe(7)).
_SIZES = (1 << 20, 256 << 10, 64 << 10)
#: Number of idle pipes that are kept open; each takes two descriptors.
_SPARE = 32
#: Largest number of pipes: at 1 MiB each, 256 MiB. And they take at most this part of the descriptors.
_MOST, _SHARE = 256, 8
#: Bytes of pipes taken back that may be in memory: as many as the kernel allows an unprivileged user in pipes.
_MOST_RECLAIMED = 64 << 20


class Pipe(NamedTuple):
    """Both ends of a non-blocking pipe.

    :ivar size: capacity in bytes.
    """

    read: int
    write: int
    size: int

    def close(self) -> None:
        """Close both ends. Bytes in the pipe are dropped."""
        os.close(self.read)
        os.close(self.write)


class Borrower(Protocol):
    """A direction that has borrowed a pipe."""

    @property
    def is_stalled(self) -> bool:
        """Whether the pipe has bytes of which the peer has taken none for a while."""

    def empty_pipe(self) -> None:
        """Move the bytes of the pipe to memory, count them as :attr:`PipePool.reclaimed`, and return it."""


class PipePool:
    """Lends pipes, and opens one when none is idle.

    :ivar reclaimed: bytes in memory that were in pipes which were taken back.
    """

    def __init__(self) -> None:
        self._highest = highest_descriptor()
        self._most = min(_MOST, self._highest // (2 * _SHARE))
        self._spare: list[Pipe] = []
        self._borrowers: dict[Borrower, None] = {}
        self.reclaimed = 0

    @property
    def lent(self) -> int:
        """Number of pipes that are in use."""
        return len(self._borrowers)

    def lend(self, borrower: Borrower) -> Pipe | None:
        """An empty pipe; ``None`` if there is none: the kernel refuses one, or all are lent and busy."""
        if not self._spare and len(self._borrowers) >= self._most:
            self._reclaim()
            if not self._spare:
                return None
        pipe = self._spare.pop() if self._spare else _open_pipe(self._highest)
        if pipe is not None:
            self._borrowers[borrower] = None
        return pipe

    def _reclaim(self) -> None:
        """Take a pipe back from a direction that is stalled."""
        if self.reclaimed >= _MOST_RECLAIMED:
            return
        for borrower in self._borrowers:
            if borrower.is_stalled:
                borrower.empty_pipe()
                return

    def take_back(self, borrower: Borrower, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back. One with bytes in it is closed: they belong to the connection that has ended."""
        del self._borrowers[borrower]
        if empty and len(self._spare) < _SPARE:
            self._spare.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close the idle pipes."""
        while self._spare:
            self._spare.pop().close()


def _open_pipe(highest: int) -> Pipe | None:
    """A new pipe; ``None`` if the kernel refuses one, or its descriptors would be in the reserve from ``highest`` on."""
    try:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # out of descriptors
    if max(read, write) >= highest:
        os.close(read)
        os.close(write)
        return None
    pipe = Pipe(read, write, _enlarge(write))
    if (
        pipe.size < _SIZES[-1]
    ):  # over the user's page limit a new pipe has one or two pages: copying is faster
        pipe.close()
        return None
    return pipe


def _enlarge(pipe: int) -> int:
    for size in _SIZES:
        try:
            return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            continue  # over the user's page limit: try a smaller size
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
