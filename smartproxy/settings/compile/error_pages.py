"""The error pages that a configuration has read (``errorPages``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.http.error_pages import read_error_page
from smartproxy.model.plan import ErrorPage
from smartproxy.settings.compile.file_contents import FileContents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ErrorPages:
    """The pages of one configuration.

    :param directory: see :class:`~smartproxy.settings.compile.file_contents.FileContents`, and ``former`` and ``before``, too.
    """

    def __init__(
        self, directory: Path, former: ErrorPages | None = None, before: ErrorPages | None = None
    ) -> None:
        #: The page in a file. Raises :class:`~smartproxy.errors.InvalidErrorPage`.
        self.page: FileContents[ErrorPage] = FileContents(
            directory,
            read_error_page,
            lambda path, kept: ErrorPage(path, kept.state, kept.content, kept.content_type),
            None if former is None else former.page,
            None if before is None else before.page,
        )

    @property
    def files(self) -> dict[str, ErrorPage]:
        """Those that were read, by path."""
        return self.page.by_path

    def of(self, written: Mapping[str, str]) -> dict[int, ErrorPage]:
        """The pages by status.

        :raises InvalidErrorPage: where one cannot be used.
        """
        return {int(status): self.page(name) for status, name in written.items()}
