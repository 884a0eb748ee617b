"""A balancer of an embedding program, as a group uses it: what it raises and what it returns cannot break the group.

What ``choose`` raises, and an answer that is not one of the candidates that may be chosen, ends that one connection. What the
other methods raise is logged, the first time for each; the balancer goes on with what it knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from smartproxy.errors import Refused
from smartproxy.upstream.candidate import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from smartproxy.upstream.interfaces import Balancer

log = Logger()
_METHODS = ("begin", "enter", "leave", "changed", "choose")


class EmbeddedBalancer:
    """Calls a program's balancer.

    :param group: the name of the group, for messages.
    """

    def __init__(self, balancer: Balancer, group: str) -> None:
        self._balancer = balancer
        self._name = f"the balancer {type(balancer).__qualname__} of group {group}"
        self._candidates: Sequence[Candidate] = ()
        self._logged: set[str] = set()

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._candidates = tuple(candidates)
        self._tell("begin", self._balancer.begin, self._candidates)

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._tell("enter", self._balancer.enter, candidate)

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._tell("leave", self._balancer.leave, candidate)

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._tell("changed", self._balancer.changed, candidate)

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`.

        :raises Refused: where the balancer does; the client is refused with its reason.
        :raises Exception: as the balancer does.
        :raises ValueError: where it gives anything else than a candidate that may be chosen.
        """
        try:
            chosen: object = self._balancer.choose(client, tried)
        except Refused:
            raise
        except Exception as failed:
            failed.add_note(self._name)
            raise
        if chosen is None:
            return None
        if isinstance(chosen, Candidate) and chosen.inside and chosen not in tried and self._has(chosen):
            return chosen
        raise ValueError(
            f"{self._name} gave {chosen!a}: must be a candidate that is inside and was not tried, or None"
        )

    def _has(self, candidate: Candidate) -> bool:
        """Whether it is of this configuration, and of this group."""
        index = candidate.index
        return index < len(self._candidates) and self._candidates[index] is candidate

    def _tell(self, method: str, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            if method not in self._logged:
                self._logged.add(method)
                log.failure(
                    "{balancer} failed in {method}; further failures of it are not logged",
                    balancer=self._name, method=method,
                )  # fmt: skip


def embedded(make: Callable[[str], Any], group: str) -> EmbeddedBalancer | None:
    """The balancer that ``make`` gives for a group; ``None`` where it fails, which is logged."""
    try:
        made = make(group)
        missing = [name for name in _METHODS if not callable(getattr(made, name, None))]
        if missing:
            raise TypeError(f"{made!a} has no {', '.join(missing)}")  # noqa: TRY301 - logged as any other failure
    except Exception:
        log.failure("no balancer could be made for group {group}; roundRobin is used", group=group)
        return None
    return EmbeddedBalancer(made, group)
