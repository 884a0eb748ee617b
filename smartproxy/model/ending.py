"""How a connection ended, for the logs: which end ended it, and why in words.

Nothing here runs for a connection that ends in order while no log asks. What ends a connection for a reason stores an
:class:`EndingDetail` in its record; for every other outcome the tables below have the side and the words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.model.outcome import LONGEST_DETAIL, CloseReason, EndedBy, RejectReason

if TYPE_CHECKING:
    from smartproxy.model.outcome import EndingDetail, Outcome
    from smartproxy.model.record import ConnectionRecord

#: Characters of an address, and of a name that a client sent, in a log line: INET6_ADDRSTRLEN without its NUL (RFC 3493),
#: and the longest host name (RFC 1035, 2.3.4).
LONGEST_ADDRESS, LONGEST_NAME = 45, 255

#: A name that cannot be taken for another part of a log line.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._:*/-]+")
#: An end without the close_notify that TLS requires (RFC 8446, 6.1).
TRUNCATED: Final = "its TLS ended without close_notify"

#: Which end an outcome is due to; the proxy ended every other one.
SIDES: Final[dict[Outcome, EndedBy]] = {
    CloseReason.CLIENT_RESET: EndedBy.CLIENT,
    CloseReason.UPSTREAM_RESET: EndedBy.TARGET,
    RejectReason.UPSTREAM_REFUSED: EndedBy.TARGET,
    RejectReason.UPSTREAM_TIMEOUT: EndedBy.TARGET,
    RejectReason.UPSTREAM_UNREACHABLE: EndedBy.TARGET,
}

#: The words for an outcome that nothing has explained in more detail. A normal end needs none.
_WORDS: Final[dict[Outcome, str]] = {
    CloseReason.CLIENT_RESET: "the client reset the connection, or its connection timed out",
    CloseReason.UPSTREAM_RESET: "the target reset the connection, or its connection timed out",
    CloseReason.INACTIVITY: "inactivityTimeout",
    CloseReason.LIFETIME: "maxConnectionLifetime",
    CloseReason.HALF_CLOSE_TIMEOUT: "halfCloseTimeout",
    CloseReason.ZOMBIE_FULL: "both sockets were closed without an event",
    CloseReason.ZOMBIE_HALF: "one socket was closed, and no byte moved",
    CloseReason.ZOMBIE_STUCK: "the client got no reply",
    CloseReason.SHUTDOWN: "the proxy stopped",
    CloseReason.ADMIN: "ended through the admin API",
    CloseReason.ROUTE_REMOVED: "its route was removed, and gracefulShutdownTimeout has passed",
    CloseReason.TARGET_DOWN: "a check found its target down, and whenDown is reset",
    CloseReason.ERROR: "an exception in this process: the log has its traceback",
}


def side_of(record: ConnectionRecord, outcome: Outcome) -> EndedBy:
    """The end that ended a connection. After an orderly close it is the one that sent its FIN first."""
    detail = _detail(record, outcome)
    if detail is not None and detail.side is not None:
        return detail.side
    if outcome is CloseReason.NORMAL:
        return record.ended_first or (EndedBy.TARGET if record.is_linked else EndedBy.CLIENT)
    return SIDES.get(outcome, EndedBy.PROXY)


def detail_of(record: ConnectionRecord, outcome: Outcome) -> str | None:
    """Why a connection ended, in words; ``None`` for an orderly close after it was linked."""
    detail = _detail(record, outcome)
    if detail is not None:
        return detail.text
    if outcome is CloseReason.NORMAL and not record.is_linked:
        return f"the client disconnected {_before(record)}"
    if outcome is CloseReason.CLIENT_RESET and not record.is_linked:
        return f"the client reset the connection {_before(record)}"
    return _WORDS.get(outcome)


def _detail(record: ConnectionRecord, outcome: Outcome) -> EndingDetail | None:
    return None if record.details is None else record.details.get(outcome)


def _before(record: ConnectionRecord) -> str:
    """The step of a connection that was never linked."""
    if record.attempts:
        return "while its target was dialed"
    return "before it had a route" if record.route is None else "before its target was dialed"


def refusal(record: ConnectionRecord, reason: RejectReason) -> str:
    """What a log line says of a refused connection: :func:`about` it, and why."""
    why = detail_of(record, reason)
    return f"{about(record)}: {printable(why, LONGEST_DETAIL)}" if why else about(record)


def about(record: ConnectionRecord) -> str:
    """What a log line names of a connection: listener, name asked for, route, target and dials, as far as known."""
    named = [f"listener {record.listener}"]
    name, route = record.sni or record.host, record.route or record.refused_by
    if name is not None:
        named.append(f"name {_quoted(name)}")
    if record.host is not None and record.host != name:
        named.append(f"Host {_quoted(record.host)}")
    if route is not None:
        named.append(f"route {_quoted(route)}")
    if record.target is not None:
        named.append(f"target {record.target}")
    if record.attempts:
        named.append(f"{record.attempts} attempt{'s' * (record.attempts != 1)}")
    return ", ".join(named)


def _quoted(name: str) -> str:
    """A name as it is, or quoted and escaped where it has characters that the line around it might have, too."""
    name = name[:LONGEST_NAME]
    return name if _PLAIN.fullmatch(name) else ascii(name)


def in_words(failed: BaseException | None) -> str:
    """An exception in one line: what raised it, where that is noted on it, its type and its text."""
    noted = "".join(f"{note} raised " for note in getattr(failed, "__notes__", ())[:1])
    text = printable(str(failed), LONGEST_DETAIL)
    return f"{noted}{type(failed).__name__}{': ' * bool(text)}{text}"


def printable(text: str, longest: int) -> str:
    """``text`` in printable ASCII and at most ``longest`` characters of it: safe in a log whatever a client has sent."""
    return ascii(text[:longest])[1:-1]
