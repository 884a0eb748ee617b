"""Replaces the content of error pages when their files change: the next answers have it.

::

    watch = ErrorPageWatch(clock, call, reactor)
    watch.follow([page])

A file that cannot be used any more leaves the former content in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.files.content import ContentWatch
from smartproxy.flow.threads import call_here
from smartproxy.http.error_pages import read_error_page
from smartproxy.model.plan import ErrorPage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.flow.threads import Call

log = Logger()


class ErrorPageWatch(ContentWatch[ErrorPage]):
    """Replaces the content of pages whose files have changed."""

    def __init__(
        self, clock: IReactorTime, call: Call = call_here, reactor: IReactorFDSet | None = None
    ) -> None:
        super().__init__(clock, call, reactor)

    def _read(self, file: ErrorPage) -> ErrorPage:
        return read_error_page(file.path)

    def _use(self, file: ErrorPage, found: ErrorPage) -> None:
        file.content = found.content
        log.info("error page read again: {file}", file=file.path)

    def _log_problem(self, problem: str) -> None:
        log.error("error page not applied, the former one is kept: {problem}", problem=problem)
