"""What is logged of changes in a group: each one line with its reason, and no more than a few of a target that flaps.

Dials can change a target's state as often as clients connect: one that refuses every second connection is ejected and
comes back each time. After :data:`MOST` changes in :data:`WINDOW` seconds further ones are counted, and one line has
their number and the state at the end. What an operator sets is always logged, and so is what checks find: they change a
state once in ``rise`` or ``fall`` checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

log = Logger()
WINDOW: Final = 10.0
MOST: Final = 4
#: Names that a line lists.
_MOST_NAMED: Final = 10


class FlapLog:
    """Which changes are logged, by the name of what has changed."""

    def __init__(self) -> None:
        self._recent: dict[str, _Recent] = {}

    def may_log(self, name: str, state: str, now: float) -> bool:
        """Whether the change of ``name`` to ``state`` is logged now.

        :param now: monotonic seconds.
        """
        recent = self._recent.get(name)
        if recent is None:
            recent = self._recent[name] = _Recent(now)
        recent.number += 1
        recent.state = state
        return recent.number <= MOST

    def flush(self, now: float) -> None:
        """Log what was counted; to be called about once per second."""
        for name, recent in list(self._recent.items()):
            if now - recent.since < WINDOW:
                continue
            del self._recent[name]
            if recent.number > MOST:
                log.warn(
                    "{name} changes too often: {number} more times in {seconds:.0f} s; now: {state}",
                    name=name,
                    number=recent.number - MOST,
                    seconds=now - recent.since,
                    state=recent.state,
                )


class _Recent:
    """The changes of one name since ``since``."""

    __slots__ = ("number", "since", "state")

    def __init__(self, since: float) -> None:
        self.since = since
        self.number = 0
        self.state = ""


def log_ejected(group: str, target: str, seconds: float, why: str) -> None:
    """Log that a target is ejected."""
    log.warn(
        "target {group}/{target} is ejected for {seconds:g} s: {why}",
        group=group, target=target, seconds=seconds, why=why,
    )  # fmt: skip


def log_up_again(group: str, target: str, why: str) -> None:
    """Log that an ejection has ended."""
    log.info("target {group}/{target} is up again: {why}", group=group, target=target, why=why)


def log_differences(group: str, former: Mapping[str, int], present: Mapping[str, int]) -> None:
    """Log which targets have joined or left, and whose weights have changed; nothing where none have.

    :param former: the weights by name; likewise ``present``.
    """
    changes = "; ".join(_differences(former, present))
    if changes:
        log.info("group {group} has other targets: {changes}", group=group, changes=changes)


def _differences(former: Mapping[str, int], present: Mapping[str, int]) -> Iterator[str]:
    if joined := [name for name in present if name not in former]:
        yield f"{in_brief(joined)} joined"
    if left := [name for name in former if name not in present]:
        yield f"{in_brief(left)} left"
    weights = [
        f"{name} {former[name]} to {weight}"
        for name, weight in present.items()
        if former.get(name, weight) != weight
    ]
    if weights:
        yield f"weight of {in_brief(weights)}"


def in_brief(names: Sequence[str]) -> str:
    """The names, of which so many are listed."""
    left = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + left


def ignore(*_: object) -> None:
    """The default callback for changes of state: does nothing."""
