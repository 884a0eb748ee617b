"""Reading the files that a configuration names: whatever is at their paths, that ends, and takes a bounded amount of memory.

To open a FIFO waits for a writer, and a device may have no end: the start, or each reload from then on, would not return.
"""

from __future__ import annotations

import errno
import os
import stat


def read_bounded(path: str, most: int) -> bytes:
    """The content of a file; of a larger one the first ``most`` + 1 bytes.

    :raises OSError: where it cannot be read; ``strerror`` says why.
    """
    # Without O_NONBLOCK it could not be asked what it is before its writer has opened it, too (fifo(7)).
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is a pipe, and no file")
        return file.read(most + 1)
