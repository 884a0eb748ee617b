"""Pages for answers that the proxy makes itself (``errorPages``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.model.plan.tls import FileState


class ErrorPage:
    """The page in a file. Its content is replaced when the file changes, without a reload.

    :ivar path: of the file.
    :ivar state: of the file, before it was read.
    :ivar content: what it contained when it was last read.
    :ivar content_type: of its suffix.
    """

    __slots__ = ("content", "content_type", "path", "state")

    def __init__(self, path: str, state: FileState | None, content: bytes, content_type: str) -> None:
        self.path = path
        self.state = state
        self.content = content
        self.content_type = content_type
