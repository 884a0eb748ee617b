"""A pool of pipes to splice through. A direction borrows one while it is busy, and returns it empty.

Size is what makes splicing cheap: through a pipe of 1 MiB a gigabyte costs 0.28 s of CPU, through one of
64 KiB 0.47 s. But the pages of all pipes of a user are counted (fs.pipe-user-pages-soft, 16,384 without
privileges: 64 pipes of 1 MiB). When the kernel refuses 1 MiB, the pool asks for less, and when it refuses a
pipe, the relay copies.
"""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple

#: Sizes in bytes, in order of preference. fs.pipe-max-size is 1 MiB by default (pipe(7)).
_SIZES = (1 << 20, 256 << 10, 64 << 10)
#: Number of idle pipes that are kept open; each takes two descriptors.
_SPARE = 32


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


class PipePool:
    """Lends pipes, and opens one when none is idle.

    :ivar lent: number of pipes that are in use.
    """

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self.lent = 0

    def lend(self) -> Pipe | None:
        """An empty pipe; ``None`` if the kernel refuses one."""
        pipe = self._spare.pop() if self._spare else _open_pipe()
        if pipe is not None:
            self.lent += 1
        return pipe

    def take_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back. One with bytes in it is closed: they belong to the connection that has ended."""
        self.lent -= 1
        if empty and len(self._spare) < _SPARE:
            self._spare.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close the idle pipes."""
        while self._spare:
            self._spare.pop().close()


def _open_pipe() -> Pipe | None:
    try:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # out of descriptors
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
