"""The bodies of requests that are still being received, in bounded memory.

A body is bounded (:data:`~smartproxy.admin.site.MAX_BODY`), but the number of clients that send one is not, and a request
is authorised only when it is complete. So when incomplete bodies take too much together, the one that was begun first is
aborted: a client that sends takes milliseconds for a body.
"""

from __future__ import annotations

from typing import Protocol

#: Largest number of bytes of incomplete bodies together.
MAX_INCOMPLETE = 16 * 1024 * 1024


class Upload(Protocol):
    """A request whose body is being received."""

    def abort(self) -> None:
        """Close the connection; it calls :meth:`Uploads.ended`."""


class Uploads:
    """All incomplete bodies of one listener."""

    def __init__(self) -> None:
        self._sizes: dict[Upload, int] = {}
        self._total = 0

    def received(self, upload: Upload, size: int) -> None:
        """``size`` more bytes of a body were received. Abort the oldest bodies while there are too many bytes."""
        self._sizes[upload] = self._sizes.get(upload, 0) + size
        self._total += size
        while self._total > MAX_INCOMPLETE and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.ended(oldest)
            oldest.abort()

    def ended(self, upload: Upload) -> None:
        """A body is complete, or its connection is lost."""
        self._total -= self._sizes.pop(upload, 0)
