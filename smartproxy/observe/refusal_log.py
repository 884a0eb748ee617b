"""A rate-limited log of refused connections: at most one line per reason and five seconds.

The first refusal of a reason is logged at once, so that an operator who watches the log sees it. Those that follow are
counted, and logged in one line after five seconds::

    refused 1 connection: ip_blocked (198.51.100.7)
    refused 4711 connections in 5.0 s: ip_blocked (198.51.100.7, 203.0.113.9, 203.0.113.10, ...)
    refused 2 connections in 5.0 s: upstream_refused (198.51.100.7): 10.0.0.1:80: Connection refused

The text after the addresses is the last detail given, if any.

The owner calls :meth:`RefusalLog.flush` about once per second in a ``LoopingCall``, and with ``everything`` when it
stops. The metrics have the exact numbers; this log is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.outcome import RejectReason

#: Seconds between two lines of one reason.
INTERVAL: Final = 5.0

#: Number of addresses in a line, and the length of each at most: INET6_ADDRSTRLEN without its NUL (RFC 3493).
_EXAMPLES: Final = 3
_LONGEST: Final = 45
#: Characters of a detail at most.
_LONGEST_DETAIL: Final = 200


class _PendingRefusals:
    """Refusals of one reason that have not been logged yet."""

    __slots__ = ("count", "detail", "examples", "more", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.detail = ""
        self.examples: list[str] = []
        self.more = False

    def add(self, ip: str, detail: str) -> None:
        self.count += 1
        self.detail = detail or self.detail
        if ip in self.examples:
            return
        if len(self.examples) < _EXAMPLES:
            self.examples.append(ip)
        else:
            self.more = True

    def __str__(self) -> str:
        return ", ".join([_printable(ip) for ip in self.examples] + ["..."] * self.more)


class RefusalLog:
    """Logs refused connections in a bounded number of lines of bounded length.

    :param clock: monotonic seconds.
    :param log: the logger to use; default: this module's.
    """

    def __init__(self, clock: Callable[[], float], log: Logger | None = None) -> None:
        self._clock = clock
        self._log = log or Logger()
        self._pending: dict[RejectReason, _PendingRefusals] = {}

    def note(self, reason: RejectReason, ip: str, detail: str = "") -> None:
        """Log or count a refused connection of ``ip``; ``detail`` is more specific than the reason."""
        now = self._clock()
        pending = self._pending.get(reason)
        if pending is None:
            self._pending[reason] = _PendingRefusals(now)
            self._log.warn(
                "refused 1 connection: {reason} ({ip}){detail}",
                reason=reason.value,
                ip=_printable(ip),
                detail=_suffix(detail),
            )
            return
        pending.add(ip, detail)
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
            "refused {count} connection{s} in {seconds:.1f} s: {reason} ({examples}){detail}",
            count=pending.count,
            s="" if pending.count == 1 else "s",
            seconds=now - pending.since,
            reason=reason.value,
            examples=str(pending),
            detail=_suffix(pending.detail),
        )


def _printable(text: str, longest: int = _LONGEST) -> str:
    """Truncate and escape. An address needs neither, but the log must be safe even if this is not one."""
    return ascii(text[:longest])[1:-1]


def _suffix(detail: str) -> str:
    return f": {_printable(detail, _LONGEST_DETAIL)}" if detail else ""
