"""Notices when certificates are replaced on disk, so that they come into force without a reload of the configuration.

::

    watch = CertificateWatch(renewals, report, clock, call, reactor)
    watch.configure(plan.tls)       # after the certificates of a configuration have come into force
    watch.start()

Changes are noticed by :class:`~smartproxy.files.watch.FileWatch`. They are applied after 1 s without further change,
because a key is written after its certificate and does not belong to the former one
(:mod:`smartproxy.tls.renewals`).

Authorities, revocation lists and our certificates for targets are part of the configuration's plan. When one of these
files changes, the configuration in force is compiled again, which changes nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from smartproxy.errors import ConfigurationError
from smartproxy.files.watch import FileWatch
from smartproxy.flow.threads import call_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import TlsPlan
    from smartproxy.tls.renewal import WatchedFiles
    from smartproxy.tls.renewal_report import RenewalReport
    from smartproxy.tls.renewals import Renewals


class CertificateWatch:
    """Watches the files of the certificates in force.

    :param renewals: puts renewed certificates in force.
    :param report: is told of other files.
    :param clock: schedules polls.
    :param call: looks at files, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    :ivar compile_again: compiles the configuration from its files again, and puts it in force.
    """

    def __init__(
        self,
        renewals: Renewals,
        report: RenewalReport,
        clock: IReactorTime,
        call: Call = call_here,
        reactor: IReactorFDSet | None = None,
    ) -> None:
        self._renewals = renewals
        self._report = report
        self.compile_again: Callable[[], Awaitable[None]] = _not_compiled
        self._watch: FileWatch[WatchedFiles] = FileWatch(clock, self._read, call, reactor)
        self.start, self.stop, self.poll = self._watch.start, self._watch.stop, self._watch.poll

    def configure(self, plan: TlsPlan) -> None:
        """Watch the files of the certificates in force, from now on, and report which of them are left out."""
        self._renewals.follow(plan)
        self._watch.follow(self._renewals.watched)

    async def _read(self, watched: WatchedFiles, before: FileStates, states: FileStates) -> None:
        if await self._renewals.renew(before, states, lambda: self._watch.is_current(watched)):
            await compile_where_changed(watched, before, states, self.compile_again, self._report)


async def compile_where_changed(
    watched: WatchedFiles,
    before: FileStates,
    states: FileStates,
    compile_again: Callable[[], Awaitable[None]],
    report: RenewalReport,
) -> None:
    """Have the configuration compiled again if authorities, revocation lists and the like have changed.

    Where that fails, the next change of any file has it tried again: the cause may be another file, as a key that was
    replaced before its certificate.
    """
    watched.unapplied.update(file for file in watched.compiled if before.get(file) != states.get(file))
    if not watched.unapplied:
        return
    try:
        await compile_again()
    except (ConfigurationError, CannotListenError) as failed:
        for problem in failed.problems if isinstance(failed, ConfigurationError) else [str(failed)]:
            report.kept(problem)
        return
    for file in sorted(watched.unapplied):
        report.renewed(file)
    watched.unapplied.clear()


async def _not_compiled() -> None:
    """In place of :attr:`CertificateWatch.compile_again` until it is set."""
