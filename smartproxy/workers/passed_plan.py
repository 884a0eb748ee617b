"""A configuration that one process of a proxy passes to another: compiled, in a file in memory.

It is read in small portions, between which the event loop of a worker runs. A process of another version of smartproxy
cannot use it as it is: objects may have changed. That one reads the configuration file itself.
"""

from __future__ import annotations

import mmap
import os
import pickle
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy._version import __version__
from smartproxy.errors import WorkerFailed
from smartproxy.flow.pace import Pace
from smartproxy.settings import Settings
from smartproxy.workers.passed_values import NamingPickler, memory_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartproxy.model.plan import ProxyPlan

#: Routes, or groups, in a portion: about a millisecond.
_PORTION: Final = 10


class ConfigurationFile(NamedTuple):
    """Where a configuration can be read again.

    :ivar path: ``None`` where it cannot.
    """

    path: str | None
    format: str | None


class _Header(NamedTuple):
    version: str
    file: ConfigurationFile
    groups: int
    routes: int


@contextmanager
def plan_file(plan: ProxyPlan, file: ConfigurationFile) -> Iterator[int]:
    """A descriptor of a file in memory with ``plan``. It is closed at the end of the block."""
    content = BytesIO()
    # As plain values: another version can read them.
    header = _Header(__version__, file, len(plan.groups), len(plan.routes))
    content.write(pickle.dumps((*header[:1], tuple(file), *header[2:])))
    pickler = NamingPickler(content, pickle.HIGHEST_PROTOCOL)
    pickler.dump(replace(plan, groups=(), routes=()))
    for portion in (*_portions(plan.groups), *_portions(plan.routes)):
        pickler.dump(portion)
    with memory_file(content) as descriptor:
        yield descriptor


def taken_plan(descriptor: int) -> ProxyPlan:
    """The configuration in a file that :func:`plan_file` has made. The descriptor is closed. May be called in a thread.

    :raises ConfigurationError: if it has to be read from its file, and that is not valid.
    :raises WorkerFailed: if it was made by another version, and there is no file.
    """
    pace = Pace()
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            version, file, groups, routes = pickle.load(content)  # noqa: S301 - from our own process
            if version != __version__:
                return _read(version, ConfigurationFile(*file))
            unpickler = pickle.Unpickler(content)  # noqa: S301 - likewise; it knows what it has read before
            plan: ProxyPlan = unpickler.load()
            read: list[list[object]] = [[], []]
            for kind, count in enumerate((groups, routes)):
                while len(read[kind]) < count:
                    pace()
                    read[kind] += unpickler.load()
    finally:
        os.close(descriptor)
    return replace(plan, groups=tuple(read[0]), routes=tuple(read[1]))  # type: ignore[arg-type] # as they were written


def _portions(items: Sequence[object]) -> Iterator[list[object]]:
    for first in range(0, len(items), _PORTION):
        yield list(items[first : first + _PORTION])


def _read(version: str, file: ConfigurationFile) -> ProxyPlan:
    if file.path is None:
        raise WorkerFailed(
            f"a process of version {version} cannot pass its configuration to one of {__version__}, and it was not read from a file"
        )
    return Settings.load(Path(file.path), file.format).compile()
