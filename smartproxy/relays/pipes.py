"""Pipes to splice through: lent to a direction while it is busy, and taken back empty.

Size is what makes splicing cheap: through a pipe of 1 MiB a gigabyte costs 0.28 s of CPU, through one of
64 KiB 0.47 s. But the pages of all pipes of a user are counted (fs.pipe-user-pages-soft, 16,384 without
privileges: 64 pipes of 1 MiB), so when the kernel refuses 1 MiB, smaller is asked for, and when it
refuses a pipe, the relay copies.
"""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple

#: Bytes, best first. fs.pipe-max-size is 1 MiB by default (pipe(7)).
_SIZES = (1 << 20, 256 << 10, 64 << 10)
#: Idle pipes that are kept open: two descriptors each.
_SPARE = 32


class Pipe(NamedTuple):
    """Both ends of a pipe, non-blocking, and how many bytes it takes."""

    read: int
    write: int
    size: int

    def close(self) -> None:
        """Both ends, and what is in between."""
        os.close(self.read)
        os.close(self.write)


class PipePool:
    """Pipes, made when needed."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self.lent = 0

    def lend(self) -> Pipe | None:
        """An empty pipe; ``None`` where the kernel gives none."""
        pipe = self._spare.pop() if self._spare else _made()
        if pipe is not None:
            self.lent += 1
        return pipe

    def take_back(self, pipe: Pipe, *, empty: bool) -> None:
        """The borrower is done. A pipe with bytes in it is of no use to anybody else."""
        self.lent -= 1
        if empty and len(self._spare) < _SPARE:
            self._spare.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Nobody will ask any more."""
        while self._spare:
            self._spare.pop().close()


def _made() -> Pipe | None:
    try:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # descriptors are short
    pipe = Pipe(read, write, _enlarged(write))
    if pipe.size < _SIZES[-1]:  # past the user's limit a pipe has a page or two: copying is quicker
        pipe.close()
        return None
    return pipe


def _enlarged(pipe: int) -> int:
    for size in _SIZES:
        try:
            return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            continue  # over the user's page limit: ask for less
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
