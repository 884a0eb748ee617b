"""A log of refusals that cannot be flooded: one line for each reason and five seconds.

The first refusal of a reason that was quiet is logged at once, so that somebody who watches sees it. Those
that follow are counted, and told in one line when five seconds have passed::

    refused 1 connection: ip_blocked (198.51.100.7)
    refused 4711 connections in 5.0 s: ip_blocked (198.51.100.7, 203.0.113.9, 203.0.113.10, ...)
    refused 2 connections in 5.0 s: upstream_refused (198.51.100.7): 10.0.0.1:80: Connection refused

What stands behind the addresses is the last one's detail, where it had one.

The owner runs :meth:`RefusalLog.flush` in a ``LoopingCall``, every second or so, and once more with
``everything`` when it stops. The exact numbers are in the metrics; this is for eyes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.outcome import RejectReason

#: Seconds in which one reason gets one line.
INTERVAL: Final = 5.0

#: How many addresses a line names, and how long each may be: INET6_ADDRSTRLEN without its NUL (RFC 3493).
_EXAMPLES: Final = 3
_LONGEST: Final = 45
#: Most characters of a detail.
_LONGEST_DETAIL: Final = 200


class _Unsaid:
    """Refusals of one reason that no line has told yet."""

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
    """Tells of refused connections, in bounded lines and boundedly many of them.

    :param clock: monotonic seconds.
    :param log: where to; the module's own logger unless told.
    """

    def __init__(self, clock: Callable[[], float], log: Logger | None = None) -> None:
        self._clock = clock
        self._log = log or Logger()
        self._unsaid: dict[RejectReason, _Unsaid] = {}

    def note(self, reason: RejectReason, ip: str, detail: str = "") -> None:
        """A connection of ``ip`` has been refused; ``detail`` says more than the reason."""
        now = self._clock()
        unsaid = self._unsaid.get(reason)
        if unsaid is None:
            self._unsaid[reason] = _Unsaid(now)
            self._log.warn(
                "refused 1 connection: {reason} ({ip}){detail}",
                reason=reason.value,
                ip=_printable(ip),
                detail=_behind(detail),
            )
            return
        unsaid.add(ip, detail)
        if now - unsaid.since >= INTERVAL:
            self._tell(reason, unsaid, now)

    def flush(self, *, everything: bool = False) -> None:
        """Log what has been waiting for five seconds; with ``everything``, all that waits."""
        now = self._clock()
        for reason, unsaid in list(self._unsaid.items()):
            if everything or now - unsaid.since >= INTERVAL:
                self._tell(reason, unsaid, now)

    def _tell(self, reason: RejectReason, unsaid: _Unsaid, now: float) -> None:
        if not unsaid.count:
            # Quiet for a whole interval: the next one is news again.
            del self._unsaid[reason]
            return
        self._unsaid[reason] = _Unsaid(now)
        self._log.warn(
            "refused {count} connection{s} in {seconds:.1f} s: {reason} ({examples}){detail}",
            count=unsaid.count,
            s="" if unsaid.count == 1 else "s",
            seconds=now - unsaid.since,
            reason=reason.value,
            examples=str(unsaid),
            detail=_behind(unsaid.detail),
        )


def _printable(text: str, longest: int = _LONGEST) -> str:
    """Cut and escaped: an address needs neither, but a log must not depend on its being one."""
    return ascii(text[:longest])[1:-1]


def _behind(detail: str) -> str:
    return f": {_printable(detail, _LONGEST_DETAIL)}" if detail else ""
