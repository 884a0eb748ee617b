"""The first candidate in the order of the configuration that has room: haproxy's ``first``.

With ``maxConnections``, targets are filled one after the other, so that the last ones can be switched off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smartproxy.upstream.candidate import Candidate


class First:
    """The first one with room."""

    def __init__(self) -> None:
        self._candidates: Sequence[Candidate] = ()

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._candidates = candidates

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. ``inside`` is read when one is chosen."""

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. Likewise."""

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. The number of connections does not matter."""

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        ramping = None
        for candidate in self._candidates:
            if candidate.inside and candidate not in tried:
                if not (candidate.is_ramping and candidate.passes()):
                    return candidate
                ramping = ramping or candidate
        return ramping
