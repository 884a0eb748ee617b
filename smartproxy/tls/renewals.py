"""Puts certificates that have changed on disk in force.

::

    renewals = Renewals(store, report, call)
    renewals.follow(plan.tls)                   # after the certificates of a configuration have come into force
    await renewals.renew(before, states)        # files have changed from one state to another

Files are read in a thread, and only those that have changed. The event loop exchanges the complete result for the former
one (:mod:`smartproxy.tls.renewal` has what runs in the thread). A file that cannot be used is ignored: the former
certificate stays in use. Who notices the changes is :mod:`smartproxy.tls.watcher`, or another process.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smartproxy.flow.threads import call_here
from smartproxy.model.plan import TlsPlan
from smartproxy.tls.renewal import Renewal, WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import DirectoryPlan
    from smartproxy.tls.renewal_report import RenewalReport
    from smartproxy.tls.store import CertificateStore


class Renewals:
    """Puts renewed certificates in force.

    :param store: gets them.
    :param report: is told of them.
    :param call: calls what takes long, in a thread.
    """

    def __init__(self, store: CertificateStore, report: RenewalReport, call: Call = call_here) -> None:
        self._store = store
        self._report = report
        self._call = call
        self._plan = TlsPlan()
        self._watched: WatchedFiles | None = None

    def follow(self, plan: TlsPlan) -> None:
        """The certificates of ``plan`` are in force from now on. Reports which files are left out."""
        self._plan = plan
        self._watched = None
        left_out = () if plan.directory is None else plan.directory.left_out
        self._report.forget_others(left_out)
        self._report.left_out(left_out, self._store.shared)

    @property
    def watched(self) -> WatchedFiles:
        """The files of what is in force. Made when it is asked for: it takes memory for each of them."""
        if self._watched is None:
            self._watched = WatchedFiles.of(self._store.own_entries, self._plan)
        return self._watched

    async def renew(
        self, before: FileStates, states: FileStates, is_current: Callable[[], bool] = lambda: True
    ) -> bool:
        """Read what has changed between two states, and put it in force.

        :param is_current: whether nothing has happened meanwhile that the result is to be dropped for.
        :return: false where it was dropped, for that reason or because of a reload.
        """
        watched = self.watched
        renewal = await self._call(partial(watched.read, before, states, self._store))
        if not is_current() or watched is not self._watched:
            return False
        self._apply(watched, renewal)
        return True

    def _apply(self, watched: WatchedFiles, renewal: Renewal) -> None:
        former = watched.directory
        watched.accept(renewal)
        if renewal.selection is not None:
            self._store.show(renewal.selection)
        for plan in renewal.renewed.values():
            self._report.renewed(plan.source, *plan.files)
        for problem in renewal.failed:
            self._report.kept(problem)
        if renewal.directory is not None:
            self._report_directory(former, renewal.directory, is_changed=renewal.is_shared_changed)

    def _report_directory(
        self, former: DirectoryPlan | None, present: DirectoryPlan, *, is_changed: bool
    ) -> None:
        if is_changed:
            self._report.directory_reloaded(present)
        if former is not None:
            self._report.forget({*former.left_out} - {*present.left_out})
        self._report.left_out(present.left_out, self._store.shared)
