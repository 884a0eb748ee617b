"""A rate-limited log of refused connections: at most one line per reason and five seconds.

The first refusal of a reason is logged at once, so that an operator who watches the log sees it. Those that follow are
counted, and logged in one line after five seconds::

    refused 1 connection: ip_blocked (198.51.100.7): listener :443, name a.example, route web: security.ipBlockList ...
    refused 4711 connections in 5.0 s: ip_blocked (198.51.100.7, 203.0.113.9, 203.0.113.10, ...): listener :443, ...

The text after the addresses is about the last of them: listener, name asked for, route, target and number of dials, as
far as they are known, and why.

The owner calls :meth:`RefusalLog.flush` about once per second in a ``LoopingCall``, and with ``everything`` when it
stops. The metrics have the exact numbers; this log is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from smartproxy.model.ending import LONGEST_ADDRESS, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.outcome import RejectReason

#: Seconds between two lines of one reason.
INTERVAL: Final = 5.0

#: Number of addresses in a line.
_EXAMPLES: Final = 3
#: Characters behind the addresses at most.
_LONGEST: Final = 1000


class _PendingRefusals:
    """Refusals of one reason that have not been logged yet.

    :ivar last: the last of them.
    """

    __slots__ = ("count", "examples", "last", "more", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.last = ""
        self.examples: list[str] = []
        self.more = False

    def add(self, ip: str, about: str) -> None:
        self.count += 1
        self.last = about
        if ip in self.examples:
            return
        if len(self.examples) < _EXAMPLES:
            self.examples.append(ip)
        else:
            self.more = True

    def __str__(self) -> str:
        return ", ".join([printable(ip, LONGEST_ADDRESS) for ip in self.examples] + ["..."] * self.more)


class RefusalLog:
    """Logs refused connections in a bounded number of lines of bounded length.

    :param clock: monotonic seconds.
    :param log: the logger to use; default: this module's.
    """

    def __init__(self, clock: Callable[[], float], log: Logger | None = None) -> None:
        self._clock = clock
        self._log = log or Logger()
        self._pending: dict[RejectReason, _PendingRefusals] = {}

    def note(self, reason: RejectReason, ip: str, about: str) -> None:
        """Log or count a refused connection of ``ip``.

        :param about: what is known of it, and why it was refused: :func:`smartproxy.model.ending.refusal`.
        """
        now = self._clock()
        pending = self._pending.get(reason)
        if pending is None:
            self._pending[reason] = _PendingRefusals(now)
            self._log.warn(
                "refused 1 connection: {reason} ({ip}): {about}",
                reason=reason.value,
                ip=printable(ip, LONGEST_ADDRESS),
                about=_safe(about),
            )
            return
        pending.add(ip, about)
        if now - pending.since >= INTERVAL:
            self._log_pending(reason, pending, now)

    def flush(self, *, everything: bool = False) -> None:
        """Log the refusals that have been pending for five seconds; with ``everything``, all of them."""
        now = self._clock()
        for reason, pending in list(self._pending.items()):
            if everything or now - pending.since >= INTERVAL:
                self._log_pending(reason, pending, now)

    def _log_pending(self, reason: RejectReason, pending: _PendingRefusals, now: float) -> None:
        if not pending.count:
            # None for a whole interval: log the next one at once again.
            del self._pending[reason]
            return
        self._pending[reason] = _PendingRefusals(now)
        self._log.warn(
            "refused {count} connection{s} in {seconds:.1f} s: {reason} ({examples}): {about}",
            count=pending.count,
            s="" if pending.count == 1 else "s",
            seconds=now - pending.since,
            reason=reason.value,
            examples=str(pending),
            about=_safe(pending.last),
        )


def _safe(about: str) -> str:
    """Truncated, and escaped where it is not printable ASCII. It should be, but the log must be safe even if not."""
    about = about[:_LONGEST]
    return about if about.isascii() and about.isprintable() else printable(about, _LONGEST)
