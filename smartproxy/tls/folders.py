"""Which files a directory of certificates has, and which folders to watch for changes.

::

    found = scan(directory, pace)       # every file that may contain a certificate or a key, with its state

Symbolic links are followed, to files and to folders. A folder that is reached in several ways is read once, so that a
link to a folder above it is no loop. Hidden files and folders are skipped: Kubernetes keeps the files of a secret in
hidden folders, behind links with the names that are asked for.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.files.states import identities, identity, places, state_of
from smartproxy.model.plan import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import FileState

_ENDINGS: Final = (".pem", ".crt", ".cer", ".key")


class Scan(NamedTuple):
    """The files of a directory and of the folders in it.

    :ivar files: by path, in the order in which they are read; ``None`` for a link to a file that does not exist.
    :ivar folders: every folder to watch, with its device and inode: a folder that replaces another has other ones.
    :ivar unreadable: what cannot be read at all.
    """

    files: dict[str, FileState | None]
    folders: dict[str, tuple[int, int]]
    unreadable: list[LeftOut]


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
            this = identity(folder)
            if this in visited:
                continue
            entries = _entries(folder)
        except OSError as problem:
            found.unreadable.append(LeftOut(folder, f"{folder}: cannot be read: {problem.strerror}"))
            continue
        visited.add(this)
        found.folders[folder] = this
        inner = [entry.path for entry in entries if not _enter(entry, found, pace)]
        pending.extend(reversed(inner))
    return found


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
