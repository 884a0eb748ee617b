"""Pages for answers that the proxy makes itself (``errorPages``): read when a configuration is, and again when their file changes.

:mod:`smartproxy.http.error_page_watch` replaces the content when the file changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smartproxy.errors import InvalidErrorPage
from smartproxy.files.bounded import read_bounded
from smartproxy.files.states import state_of
from smartproxy.model.plan import ErrorPage

#: Bytes of a page. It is held in memory, and sent whole.
MAX_SIZE: Final = 1 << 20
_TYPES: Final = {
    ".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8", ".xhtml": "application/xhtml+xml",
    ".json": "application/json", ".xml": "application/xml", ".svg": "image/svg+xml",
}  # fmt: skip
_OTHER: Final = "text/plain; charset=utf-8"


def read_error_page(path: str) -> ErrorPage:
    """Read a page.

    :raises InvalidErrorPage: where the file is missing, too large or may not be read.
    """
    state = state_of(path)
    try:
        content = read_bounded(path, MAX_SIZE)
    except OSError as problem:
        denied = isinstance(problem, PermissionError)
        raise InvalidErrorPage([f"{path}: cannot be read: {problem.strerror}"], is_denied=denied) from None
    if len(content) > MAX_SIZE:
        raise InvalidErrorPage([f"{path}: is larger than {MAX_SIZE >> 20} MiB"])
    return ErrorPage(path, state, content, _TYPES.get(Path(path).suffix.lower(), _OTHER))
