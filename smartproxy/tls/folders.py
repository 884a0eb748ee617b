"""Which files a directory of certificates has, and which folders to watch for changes.

::

    found = scan(directory, pace)       # every file that may contain a certificate or a key, with its state
    state_of(file)                      # changes when the file is written or replaced

Symbolic links are followed, to files and to folders. A folder that is reached in several ways is read once, so that a
link to a folder above it is no loop. Hidden files and folders are skipped: Kubernetes keeps the files of a secret in
hidden folders, behind links with the names that are asked for.
"""

from __future__ import annotations

import os
import stat
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.model.plan import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smartproxy.model.plan import FileState

_ENDINGS: Final = (".pem", ".crt", ".cer", ".key")
#: Links followed on the way of one path (MAXSYMLINKS of Linux).
_MAX_LINKS: Final = 40
#: Seconds within which a file can change twice without a change of its times: the resolution of some file systems is 2 s.
_TIME_RESOLUTION: Final = 2.0


class Scan(NamedTuple):
    """The files of a directory and of the folders in it.

    :ivar files: by path, in the order in which they are read; ``None`` for a link to a file that does not exist.
    :ivar folders: every folder to watch, with its device and inode: a folder that replaces another has other ones.
    :ivar unreadable: what cannot be read at all.
    """

    files: dict[str, FileState | None]
    folders: dict[str, tuple[int, int]]
    unreadable: list[LeftOut]


def state_of(file: str) -> FileState | None:
    """Values that change when a file is written or replaced; ``None`` if it does not exist."""
    try:
        found = os.stat(file)  # noqa: PTH116 - for every file in every poll, and Path would make another object
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


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


def scan(directory: str, pace: Callable[[], None]) -> Scan:
    """Find every file in ``directory`` and its folders that may contain a certificate or a key.

    :param pace: called between two files.
    """
    found = Scan({}, identities(places(directory)), [])
    visited: set[tuple[int, int]] = set()
    pending = [directory]
    while pending:
        folder = pending.pop()
        try:
            identity = _identity(folder)
            if identity in visited:
                continue
            entries = _entries(folder)
        except OSError as problem:
            found.unreadable.append(LeftOut(folder, f"{folder}: cannot be read: {problem.strerror}"))
            continue
        visited.add(identity)
        found.folders[folder] = identity
        inner = [entry.path for entry in entries if not _enter(entry, found, pace)]
        pending.extend(reversed(inner))
    return found


def identities(folders: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Device and inode of each folder that exists."""
    known = {}
    for folder in folders:
        try:
            known[folder] = _identity(folder)
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


def _enter(entry: os.DirEntry[str], found: Scan, pace: Callable[[], None]) -> bool:
    """Enter a file in ``found``. Returns False for a folder."""
    pace()
    if entry.name.startswith("."):
        return True
    is_candidate = entry.name.lower().endswith(_ENDINGS)
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to nothing, or in a circle; a file that was removed just now
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        _enter_link(entry, found)
        return False
    if is_candidate and stat.S_ISREG(mode):
        found.files[entry.path] = state_of(entry.path)
        _enter_link(entry, found)
    elif is_candidate:  # reading a named pipe would wait for a writer
        found.unreadable.append(LeftOut(entry.path, f"{entry.path}: is not a regular file"))
    return True


def _enter_link(entry: os.DirEntry[str], found: Scan) -> None:
    if entry.is_symlink():
        found.folders.update(identities(places(entry.path)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_denied(file: str) -> bool:
    try:
        os.stat(file)  # noqa: PTH116 - as above
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)  # noqa: PTH116 - as above
    return found.st_dev, found.st_ino


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
