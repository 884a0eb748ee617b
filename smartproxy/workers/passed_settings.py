"""A configuration that one process of a proxy passes to another: as written, in a file in memory.

::

    with settings_file(settings) as descriptor:
        ...                                     # pass the descriptor
    settings = taken_settings(descriptor)       # at the other end, which owns the descriptor

It is compiled where it is used: what is compiled has functions and objects of one process in it. It is read in small
portions, between which the event loop of a worker runs. A process of another version of smartproxy, whose tables may be
others, reads the configuration file itself; it refuses a configuration that is no file's, as after ``PUT routes``.
"""

from __future__ import annotations

import mmap
import os
import pickle
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Final

from smartproxy._version import __version__
from smartproxy.errors import WorkerFailed
from smartproxy.flow.pace import Pace
from smartproxy.settings import Settings
from smartproxy.workers.passed_values import memory_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings import Route

#: Routes in a portion: about a millisecond.
_PORTION: Final = 10


@contextmanager
def settings_file(settings: Settings) -> Iterator[int]:
    """A descriptor of a file in memory with ``settings``. It is closed at the end of the block."""
    content = BytesIO()
    file = None if settings.file is None or settings.has_other_routes else str(settings.file)
    content.write(
        pickle.dumps((__version__, file, settings.format))
    )  # plain values: another version can read them
    pickler = pickle.Pickler(content, pickle.HIGHEST_PROTOCOL)
    pickler.dump((settings.bare().without_routes(), len(settings.routes)))
    for first in range(0, len(settings.routes), _PORTION):
        pickler.dump(settings.routes[first : first + _PORTION])
    with memory_file(content) as descriptor:
        yield descriptor


def taken_settings(descriptor: int, before: Settings | None = None) -> Settings:
    """The configuration in a file that :func:`settings_file` has made. The descriptor is closed. May be called in a thread.

    :param before: the configuration that it replaces; files that it names, too, are read again only if they have changed.
    :raises ConfigurationError: if it has to be read from its file, and that is not valid.
    :raises WorkerFailed: if another version has written it, and no file has it.
    """
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            version, file, format_ = pickle.load(content)  # noqa: S301 - from our own process
            if version != __version__:
                return _read(version, file, format_)
            settings = _taken(pickle.Unpickler(content))  # noqa: S301 - likewise
    finally:
        os.close(descriptor)
    if before is not None:
        settings.use_content_of(before)
    return settings


def _taken(unpickler: pickle.Unpickler) -> Settings:
    settings: Settings
    settings, count = unpickler.load()
    routes: list[Route] = []
    pace = Pace()
    while len(routes) < count:
        pace()
        routes += unpickler.load()
    return settings.model_copy(update={"routes": routes})


def _read(version: str, file: str | None, format_: str | None) -> Settings:
    if file is None:
        raise WorkerFailed(
            f"version {__version__} cannot use what {version} has read, and no file has this configuration"
        )
    return Settings.load(file, format_)
