"""What connecting asks of its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred


# ruff: noqa: N805 - an interface has no self


class IResolver(Interface):
    """Names to addresses, without blocking."""

    def resolve(name: str) -> Deferred[Sequence[str]]:
        """All addresses of ``name``, both families, in the order to try them.

        Fails with :class:`~smartproxy.errors.DialFailed`, never with an empty answer.
        """
