"""What operators have set of targets, for the workers that begin later.

::

    by_hand = SetByHand()
    with by_hand.kept("db", "one", {"state": "drain"}):
        ...                                 # ask the workers; what they all refuse is not kept
    by_hand.arguments()                     # of the questions to a worker that begins
    by_hand.follow(plan, now)               # after each change of the configuration
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from smartproxy.upstream.candidate import named_targets
from smartproxy.upstream.member import LAST_SCRAPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartproxy.model.plan import ProxyPlan


class SetByHand:
    """The state and the weight of each target for which one was set."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], dict[str, object]] = {}
        #: Since when targets are not configured any more, in monotonic seconds.
        self._removed: dict[tuple[str, str], float] = {}

    def arguments(self) -> list[dict[str, object]]:
        """The arguments of ``set_target`` for a worker that begins."""
        return [
            {"group": group, "name": name, "changes": dict(changes)}
            for (group, name), changes in self._changes.items()
            if changes
        ]

    def follow(self, plan: ProxyPlan, now: float) -> None:
        """``plan`` is in force from now on. What was set of targets that were removed is dropped when the workers drop it.

        :param now: monotonic seconds.
        """
        self._removed = {key: since for key, since in self._removed.items() if key in self._changes}
        for key in list(self._changes):
            if now - self._removed.get(key, now) >= LAST_SCRAPE:
                del self._changes[key], self._removed[key]
            elif _has(plan, *key):
                self._removed.pop(key, None)
            else:
                self._removed.setdefault(key, now)

    @contextmanager
    def kept(self, group: str, name: str, changes: Mapping[str, object]) -> Iterator[None]:
        """Keep ``changes`` from now on, for workers that begin while others are asked, unless the block raises."""
        key = group, name
        before = self._changes.get(key, {})
        kept = self._changes[key] = _together(before, changes)
        try:
            yield
        except BaseException:
            self._replace(key, kept, before)
            raise
        self._replace(key, kept, kept)

    def _replace(self, key: tuple[str, str], kept: dict[str, object], by: dict[str, object]) -> None:
        """Keep ``by`` in place of ``kept``, unless something else was set meanwhile."""
        if self._changes.get(key) is kept:
            if by:
                self._changes[key] = by
            else:
                del self._changes[key]


def _has(plan: ProxyPlan, group: str, name: str) -> bool:
    """Whether the target is configured. Any name may be found in a group whose targets are discovered."""
    found = plan.groups_by_name.get(group)
    return found is not None and (found.is_discovered or name in named_targets(found))


def _together(before: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """What is set after ``changes``; ``up`` and no weight are what a worker begins with."""
    kept = {**before, **changes}
    if kept.get("state") == "up":
        del kept["state"]
    if kept.get("weight") is None:
        kept.pop("weight", None)
    return kept
