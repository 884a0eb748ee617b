"""Targets in a file (``targetsFile``): read again when the file has changed, and applied in one step.

A file that cannot be used (missing, empty, broken) leaves the former targets in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger
from zope.interface import implementer

from smartproxy.files.content import ContentWatch
from smartproxy.flow.threads import call_here
from smartproxy.upstream.discovery.interfaces import ITargetSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.plan.target_file import TargetFile

log = Logger()

#: Seconds between two polls. Where there are no inotify events, as on NFS, a change is applied within 5 s.
_POLL_INTERVAL: Final = 3.0


class TargetFileWatch(ContentWatch["TargetFile"]):
    """Replaces the targets of files that have changed."""

    def __init__(
        self, clock: IReactorTime, call: Call = call_here, reactor: IReactorFDSet | None = None
    ) -> None:
        super().__init__(clock, call, reactor, _POLL_INTERVAL)
        self._listeners: dict[TargetFile, Callable[[], None]] = {}

    def listen(self, file: TargetFile, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the targets of ``file`` have been replaced."""
        self._listeners[file] = changed

    def forget(self, file: TargetFile) -> None:
        """Undo :meth:`listen`."""
        self._listeners.pop(file, None)

    def _read(self, file: TargetFile) -> TargetFile:
        return file.read()

    def _use(self, file: TargetFile, found: TargetFile) -> None:
        file.targets = found.targets
        log.info("targets read again: {file} ({count} targets)", file=file.path, count=len(file.targets))
        listener = self._listeners.get(file)
        if listener is not None:
            listener()

    def _log_problem(self, problem: str) -> None:
        log.error("targets file not applied, the former targets are kept: {problem}", problem=problem)


@implementer(ITargetSource)
class FileTargets:
    """The targets of one file."""

    def __init__(self, file: TargetFile, watch: TargetFileWatch) -> None:
        self._file = file
        self._watch = watch
        self.is_settled = True

    @property
    def targets(self) -> tuple[TargetPlan, ...]:
        """Those that were read last."""
        return self._file.targets

    def start(self, changed: Callable[[], None]) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._watch.listen(self._file, changed)

    def stop(self) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._watch.forget(self._file)
