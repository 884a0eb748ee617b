"""Which candidates of a group get connections, and what is logged when others do."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.upstream.candidate import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.state_log import FlapLog

log = Logger()


class Tier(IntEnum):
    """Which candidates get connections.

    :cvar PRIMARY: those that are up.
    :cvar BACKUP: the backups that are up, while no primary one is.
    :cvar LAST_RESORT: all, where none is up: a wrong check must not stop what may work. Not those that an operator excluded.
    :cvar NONE: none may be used.
    """

    PRIMARY = 0
    BACKUP = 1
    LAST_RESORT = 2
    NONE = 3


def best_tier(standings: Mapping[tuple[Standing, bool], int]) -> Tier:
    """The tier to use.

    :param standings: how many candidates there are, by standing and by whether they are backups.
    """
    if standings[Standing.UP, False]:
        return Tier.PRIMARY
    if standings[Standing.UP, True]:
        return Tier.BACKUP
    down = standings[Standing.DOWN, False] + standings[Standing.DOWN, True]
    return Tier.LAST_RESORT if down else Tier.NONE


def no_target(group: str, candidates: Sequence[Candidate]) -> str:
    """Why no target of ``group`` may be used."""
    if not candidates:
        return f"no target of group {group} was found"
    return f"every target of group {group} is set to drain or down, or has the weight 0: smartproxy targets"


def log_tier(flaps: FlapLog, group: str, tier: Tier, now: float) -> None:
    """Log that another tier is in use.

    :param now: monotonic seconds.
    """
    if not flaps.may_log(f"group {group}", tier.name.lower().replace("_", " "), now):
        return
    match tier:
        case Tier.PRIMARY:
            log.info("group {group}: a primary target is up again", group=group)
        case Tier.BACKUP:
            log.warn("group {group}: no primary target is up, backups are used", group=group)
        case Tier.LAST_RESORT:
            log.warn("group {group}: no target is up, all are tried", group=group)
        case Tier.NONE:
            log.warn("group {group}: no target may be used, clients are refused", group=group)
