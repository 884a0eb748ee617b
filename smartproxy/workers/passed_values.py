"""Values that processes of one proxy pass to each other: pickled, in a file in memory, as a descriptor.

::

    with as_file(value) as descriptor:
        ...                             # pass the descriptor
    value = taken(descriptor)           # at the other end, which owns the descriptor
"""

from __future__ import annotations

import mmap
import os
import pickle
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of a reason at most. AMP and the messages of the nursery end at 65,535 bytes, and JSON may write one
#: character with twelve.
_LONGEST_REASON: Final = 5_000


def shortened(reason: str) -> str:
    """The reason of a failure, as far as it fits into a message: a configuration may have thousands of problems."""
    if len(reason) <= _LONGEST_REASON:
        return reason
    return f"{reason[:_LONGEST_REASON]}\n... and more ({len(reason) - _LONGEST_REASON} characters)"


@contextmanager
def memory_file(content: BytesIO) -> Iterator[int]:
    """A descriptor of a file in memory with ``content``. It is closed at the end of the block."""
    descriptor = os.memfd_create("smartproxy", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file, content.getbuffer() as written:
            file.write(written)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def as_file(value: object) -> Iterator[int]:
    """A descriptor of a file in memory with ``value``, likewise."""
    with memory_file(BytesIO(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))) as descriptor:
        yield descriptor


def taken(descriptor: int) -> Any:
    """The value in a file in memory that another process of this proxy has written. The descriptor is closed."""
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            return pickle.loads(content)  # noqa: S301 - from our own process, over a socket that nobody else has
    finally:
        os.close(descriptor)
