"""States of files and folders, by which a change is noticed, and the folders whose entries decide what a path is.

::

    state_of(file)                      # changes when the file is written or replaced
    places(path)                        # the folders to watch for it

Nothing here reads a file.
"""

from __future__ import annotations

import os
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.flow.pace import Pace
    from smartproxy.model.plan import FileState

#: By file, as it was at one time; ``None`` for one that does not exist.
FileStates: TypeAlias = "dict[str, FileState | None]"

#: Links followed on the way of one path (MAXSYMLINKS of Linux).
_MAX_LINKS: Final = 40
#: Seconds within which a file can change twice without a change of its times: the resolution of some file systems is 2 s.
_TIME_RESOLUTION: Final = 2.0


def state_of(file: str) -> FileState | None:
    """Values that change when a file is written or replaced; ``None`` if it does not exist."""
    try:
        found = os.stat(file)  # noqa: PTH116 - for every file in every poll, and Path would make another object
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def changed_between(before: FileStates, now: FileStates, pace: Pace) -> set[str]:
    """The files whose state has changed, those that were removed and those that are new."""
    changed = {file for file in pace.over(before) if before[file] != now.get(file) or file not in now}
    changed.update(file for file in pace.over(now) if file not in before)
    return changed


def may_be_unchanged(before: FileState | None, now: FileState | None) -> bool:
    """Whether a file that was in the state ``before`` and may not be read now has not changed as far as can be seen.

    :param now: ``None`` where its folder may not be searched.
    """
    return before is not None and now in (None, before)


def denied(files: Iterable[str]) -> list[str]:
    """Those of ``files`` that exist and that this user may not read."""
    return [file for file in files if _is_denied(file)]


def has_settled(state: FileState | None) -> bool:
    """Whether any change of a file from now on changes its state, so that the file need not be read again until then."""
    return state is not None and state[0] < (time.time() - _TIME_RESOLUTION) * 1e9


def identities(folders: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Device and inode of each folder that exists."""
    known = {}
    for folder in folders:
        try:
            known[folder] = identity(folder)
        except OSError:
            continue
    return known


def places(path: str) -> Iterator[str]:
    """The folders whose entries decide which file ``path`` is: its own, and that of every link on the way to it."""
    here, pending, links = "/", _parts(os.path.abspath(path)), 0  # noqa: PTH100 - a Path would not keep ".." apart
    while pending and links <= _MAX_LINKS:
        part = pending.pop()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - text only: a Path is made for nothing
            continue
        step = os.path.join(here, part)  # noqa: PTH118 - as above
        try:
            target = os.readlink(step)  # noqa: PTH115 - as above
        except OSError:  # not a link, or it does not exist
            here = step
            continue
        yield here
        links += 1
        here = "/" if target.startswith("/") else here
        pending.extend(_parts(target))
    yield os.path.dirname(here)  # noqa: PTH120 - text only: a Path is made for nothing


def places_of(files: Iterable[str]) -> set[str]:
    """The same of several files, and the folders that their folders are in."""
    own = set(chain.from_iterable(places(file) for file in files))
    return own | {str(Path(folder).parent) for folder in own}


def _is_denied(file: str) -> bool:
    try:
        os.stat(file)  # noqa: PTH116 - as above
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def identity(folder: str) -> tuple[int, int]:
    """Device and inode of a folder: one that replaces it has other ones.

    :raises OSError: where it does not exist.
    """
    found = os.stat(folder)  # noqa: PTH116 - as above
    return found.st_dev, found.st_ino


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
