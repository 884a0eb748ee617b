"""A handshake for the limit of handshakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.security.handshake_limit import HandshakeLimit


class Handshake:
    """:ivar why: why it was given up; empty while it is in progress."""

    def __init__(self, began: float, limit: HandshakeLimit) -> None:
        self.began = began
        self.why = ""
        self._limit = limit

    def give_up(self, why: str) -> None:
        self.why = why
        self._limit.end(self)
