"""Logs and counts what came of certificates that have changed on disk: each problem once, until it is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import CertificatePlan, DirectoryPlan, LeftOut

log = Logger()


class RenewalReport:
    """What is logged and counted.

    :param is_silent: whether another process does it.
    """

    def __init__(self, counters: Counters, *, is_silent: bool = False) -> None:
        self._counters = counters
        self._is_silent = is_silent
        self._logged: set[str] = set()

    def renewed(self, file: str, *files: str) -> None:
        """A certificate, or another file of TLS, is in force. What was wrong with it is logged again if it comes again.

        :param files: all that it was read from.
        """
        if not self._is_silent:
            self._count("ok")
            log.info("certificate renewed: {source}", source=file)
            self._logged = {one for one in self._logged if not any(name in one for name in (file, *files))}

    def directory_reloaded(self, directory: DirectoryPlan) -> None:
        """Other certificates of the directory are in force."""
        if not self._is_silent:
            self._count("ok")
            log.info("certificate directory reloaded: {directory}", directory=directory.path)

    def kept(self, problem: str) -> None:
        """A file cannot be used, and what it contained before stays in force."""
        if not self._is_silent:
            self._count("failed")
            self._log_kept(problem)

    def forget_others(self, left_out: Iterable[LeftOut]) -> None:
        """Report every problem again, but for these: the configuration was read again."""
        self._logged.intersection_update(one.problem for one in left_out)

    def forget(self, left_out: Iterable[LeftOut]) -> None:
        """Report these problems again, if they come again."""
        self._logged.difference_update(one.problem for one in left_out)

    def left_out(self, left_out: Iterable[LeftOut], shared: Iterable[CertificatePlan]) -> None:
        """Files of the directory cannot be used.

        :param shared: the certificates of the directory that are in force.
        """
        if self._is_silent:
            return
        problems = {file: problem for file, problem in left_out if problem not in self._logged}
        kept = {file for entry in (shared if problems else ()) for file in entry.files}
        for file, problem in problems.items():
            self._count("failed")
            if file in kept:
                self._log_kept(problem)
            else:
                self._logged.add(problem)
                log.warn("certificate left out: {problem}", problem=problem)

    def _log_kept(self, problem: str) -> None:
        if problem not in self._logged:
            self._logged.add(problem)
            log.error("certificate not renewed, the former one is kept: {problem}", problem=problem)

    def _count(self, result: str) -> None:
        self._counters.certificate_reloads[result] += 1
