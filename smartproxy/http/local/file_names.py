"""From the path of a request to the names of directories and a file below a root.

Each segment is decoded once, and must then be one plain name. Whatever could mean another directory to the system, to a server
behind or to a reader of the log has no file: ``..`` in every spelling, an encoded slash, a backslash, NUL and other control
characters, an escape that is none, an empty segment. So has a name that begins with a dot, which is how version control,
editors and servers name what is not to be published.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Longest name of a file in bytes (Linux: NAME_MAX).
_LONGEST_NAME: Final = 255
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x1f\x7f/\\]")


class FileName(NamedTuple):
    """Where a file is to be looked for.

    :ivar names: of the directories below the root and of the file, decoded.
    :ivar is_directory: whether the path ended in a slash.
    """

    names: tuple[bytes, ...]
    is_directory: bool


def file_name(path: str) -> FileName | None:
    """The names in ``path``, as received, without its query; ``None`` where no file may have it."""
    if not path.startswith("/"):
        return None
    *folders, last = path[1:].encode("latin-1").split(b"/")
    names = []
    for segment in (*folders, last) if last else folders:
        name = _decoded(segment)
        if name is None:
            return None
        names.append(name)
    return FileName(tuple(names), is_directory=not last)


def is_plain_name(name: str) -> bool:
    """Whether a file of this name may be sent."""
    return _is_plain(name.encode())


def _is_plain(name: bytes) -> bool:
    is_shown = name and not name.startswith(b".") and len(name) <= _LONGEST_NAME
    return bool(is_shown) and not _FORBIDDEN.search(name)


def _decoded(segment: bytes) -> bytes | None:
    """One name; ``None`` where it is not plain."""
    if b"%" in segment:
        if not all(match[1] for match in _ESCAPE.finditer(segment)):
            return None
        segment = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), segment)
    return segment if _is_plain(segment) else None
