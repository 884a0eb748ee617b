"""What connecting asks of its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.model.address import Endpoint


# ruff: noqa: N805 - an interface has no self


class DialProgress(Protocol):
    """What is stored of the dials of a connection: in its :class:`~smartproxy.model.record.ConnectionRecord`.

    :ivar target: the address that was dialed last, or the name that has none.
    :ivar attempts: how many addresses were dialed.
    :ivar dial_seconds: how long connecting took, or was tried.
    """

    target: Endpoint | None
    attempts: int
    dial_seconds: float | None


class IResolver(Interface):
    """Names to addresses, without blocking."""

    def resolve(name: str) -> Deferred[Sequence[str]]:
        """All addresses of ``name``, both families, in the order to try them.

        Fails with :class:`~smartproxy.errors.DialFailed`, never with an empty answer.
        """
