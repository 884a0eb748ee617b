"""Opening files below a directory, and never one outside of it.

The system follows symbolic links as it does for any program, and may be made to follow another one between a check and the
opening. So what was opened is checked, not what is to be opened: a descriptor that cannot be read (``O_PATH``, which opens no
device and waits for no FIFO) is asked for its path (``/proc/self/fd``), and only if that is below the root is the same file
opened for reading, through the descriptor. The root is opened for each file, so that it may itself be a link that a deployment
switches to another directory.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_ABSENT: Final = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EINVAL,
        errno.EILSEQ,
    }
)  # fmt: skip
#: Linux has both. Where one is missing, a configuration with such a route is refused (:func:`is_supported`).
_PATH_ONLY: Final[int] = getattr(os, "O_PATH", 0)
_DESCRIPTORS: Final = "/proc/self/fd"
_FLAGS: Final = _PATH_ONLY | os.O_CLOEXEC


class OpenFile(NamedTuple):
    """A regular file that is open for reading; who gets it closes it.

    :ivar fd: its descriptor.
    :ivar size: in bytes, when it was opened.
    :ivar modified: nanoseconds since the epoch.
    """

    fd: int
    size: int
    modified: int

    def close(self) -> None:
        """Close it, once."""
        os.close(self.fd)


class Directory:
    """What is found where a directory is."""


DIRECTORY: Final = Directory()


def is_supported() -> bool:
    """Whether the system tells the path of a descriptor."""
    return bool(_PATH_ONLY) and os.access(_DESCRIPTORS, os.X_OK)


def open_below(root: str, names: Sequence[bytes]) -> OpenFile | Directory | None:
    """The regular file of that name; :data:`DIRECTORY` where that is one; ``None`` where there is none that may be read.

    A file that may not be read, a device and a FIFO are as absent as one that does not exist.

    :raises OSError: where the root cannot be opened, or the system fails (such as EMFILE, EIO).
    """
    below = os.open(root, _FLAGS | os.O_DIRECTORY)
    try:
        return _opened(below, names)
    except OSError as why:
        if why.errno in _ABSENT:
            return None
        raise
    finally:
        os.close(below)


def _opened(root: int, names: Sequence[bytes]) -> OpenFile | Directory | None:
    found = os.open(b"/".join(names), _FLAGS, dir_fd=root) if names else os.dup(root)
    try:
        mode = os.fstat(found).st_mode
        if names and not _is_below(_path(root), _path(found)):
            return None
        if stat.S_ISDIR(mode):
            return DIRECTORY
        return _readable(found) if stat.S_ISREG(mode) else None
    finally:
        os.close(found)


def _readable(found: int) -> OpenFile:
    fd = os.open(f"{_DESCRIPTORS}/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    about = os.fstat(fd)
    return OpenFile(fd, about.st_size, about.st_mtime_ns)


def _path(fd: int) -> bytes:
    try:
        return os.readlink(f"{_DESCRIPTORS}/{fd}".encode())  # noqa: PTH115 - in bytes, as names are
    except FileNotFoundError:
        raise OSError(errno.ENOSYS, "/proc is not mounted") from None


def _is_below(root: bytes, path: bytes) -> bool:
    return path.startswith(root.rstrip(b"/") + b"/")
