"""What operators have set of targets, for workers that begin, or find a target, later. It holds until the next restart.

::

    by_hand = SetByHand()
    with by_hand.kept("db", "one", {"state": "drain"}):
        ...                                 # ask the workers; what they all refuse is not kept
    by_hand.of("db", "one")                 # for workers that did not know the target
    by_hand.arguments()                     # of the questions to a worker that begins
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class SetByHand:
    """The state and the weight of each target for which one was set."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], dict[str, object]] = {}

    def arguments(self) -> list[dict[str, object]]:
        """The arguments of ``hold_target`` for a worker that begins."""
        return [
            {"group": group, "name": name, "changes": dict(changes)}
            for (group, name), changes in self._changes.items()
            if changes
        ]

    def of(self, group: str, name: str) -> dict[str, object]:
        """What is set of a target; empty for nothing."""
        return dict(self._changes.get((group, name), {}))

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


def _together(before: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """What is set after ``changes``; ``up`` and no weight are what a worker begins with."""
    kept = {**before, **changes}
    if kept.get("state") == "up":
        del kept["state"]
    if kept.get("weight") is None:
        kept.pop("weight", None)
    return kept
