"""Problems of error pages: a file that is missing, too large or may not be read, and keys without effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import InvalidErrorPage
from smartproxy.settings.checks.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartproxy.settings.compile.error_pages import ErrorPages
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration


def problems(settings: Configuration, pages: ErrorPages) -> Iterator[Problem]:
    """What makes pages unusable. Those of disabled routes are not looked at."""
    yield from _of(settings.defaults.error_pages, ("defaults", "errorPages"), pages)
    for index, route in enumerate(settings.routes):
        if route.enabled:
            yield from _of(route.action.error_pages, ("routes", index, "action", "errorPages"), pages)


def _of(written: Mapping[str, str], path: KeyPath, pages: ErrorPages) -> Iterator[Problem]:
    for status, name in written.items():
        try:
            pages.page(name)
        except InvalidErrorPage as invalid:
            for problem in invalid.problems:
                yield Problem((*path, status), problem)
