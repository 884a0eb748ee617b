"""The limit on descriptors of this process (RLIMIT_NOFILE): every socket, pipe end and file is one.

A service manager starts processes with a soft limit of 1,024 for programs that use select(2), which can handle no more, and
lets the others raise it to the hard limit (systemd.exec(5), LimitNOFILE).
"""

from __future__ import annotations

import resource
from typing import Final

from twisted.logger import Logger

#: Descriptors that accepting leaves free: a sixteenth of the limit, at least 16 and at most 256.
_RESERVE_SHARE: Final = 16
_RESERVE_MIN: Final = 16
_RESERVE_MAX: Final = 256

log = Logger()


def highest_descriptor(part: int = 1) -> int:
    """The descriptor number above which accepting pauses. The kernel always assigns the lowest free number.

    :param part: leave only one ``part``-th of the reserve free: dialling may go further than accepting.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    reserve = min(max(limit // _RESERVE_SHARE, _RESERVE_MIN), _RESERVE_MAX)
    return limit - reserve // part


def hard_limit() -> int | None:
    """The descriptors that this process can have when it has raised its limit; ``None`` without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if limit == resource.RLIM_INFINITY else limit


def raise_limit() -> None:
    """Raise the soft limit to the hard one, and log it. It does nothing where they are equal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as problem:  # a hard limit above fs.nr_open
        log.warn("the limit on open files stays at {soft}: {problem}", soft=soft, problem=problem)
        return
    log.info("limit on open files raised from {soft} to {hard}", soft=soft, hard=hard)
