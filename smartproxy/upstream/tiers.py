"""Which candidates of a group get connections, and what is logged when others do."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
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
