"""The error pages that a configuration has read (``errorPages``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import InvalidErrorPage
from smartproxy.files.states import may_be_unchanged, state_of
from smartproxy.http.error_pages import read_error_page
from smartproxy.model.plan import ErrorPage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ErrorPages:
    """The pages of one configuration. Each file is read once, and its content or its problem remembered.

    :param directory: what the paths of files are relative to.
    :param former: those of the same configuration, as they were read before: a file that cannot be used any more has its
        former content.
    :param before: those of the configuration before: they serve only where this user may not read a file again.
    :ivar files: those that were read, by path.
    """

    def __init__(
        self, directory: Path, former: ErrorPages | None = None, before: ErrorPages | None = None
    ) -> None:
        self._directory = directory
        self._former = {} if former is None else former.files
        self._before = {} if before is None else before.files
        self.files: dict[str, ErrorPage] = {}
        self._invalid: dict[str, InvalidErrorPage] = {}

    def of(self, written: Mapping[str, str]) -> dict[int, ErrorPage]:
        """The pages by status.

        :raises InvalidErrorPage: where one cannot be used.
        """
        return {int(status): self.page(name) for status, name in written.items()}

    def page(self, name: str) -> ErrorPage:
        """The page in the file ``name``.

        :raises InvalidErrorPage: where it cannot be used.
        """
        path = str(self._directory / name)
        if path in self._invalid:
            raise self._invalid[path]
        if path not in self.files:
            try:
                self.files[path] = self._read(path)
            except InvalidErrorPage as problem:
                self._invalid[path] = problem
                raise
        return self.files[path]

    def _read(self, path: str) -> ErrorPage:
        try:
            return read_error_page(path)
        except InvalidErrorPage as problem:
            kept = self._former.get(path)
            if kept is None and problem.is_denied:
                kept = self._before.get(path)
                if kept is not None and not may_be_unchanged(kept.state, state_of(path)):
                    kept = None
            if kept is None:
                raise
            return ErrorPage(path, kept.state, kept.content, kept.content_type)
