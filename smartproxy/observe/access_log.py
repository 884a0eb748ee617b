"""The access log: one line for every connection that has ended, or was refused.

::

    {"time": "2026-01-02T03:04:05.678Z", "id": 17, "listener": ":443", "route": "web", "clientIp": ...}
    time=2026-01-02T03:04:05.678Z id=17 listener=:443 route=web clientIp=192.0.2.1 ... outcome=normal relay=splice

A line is written when the connection is put away, so a hundred thousand that are lost at once are written in
batches. ``time`` is when it ended. What is not known is ``null``, or ``-`` in text. ``outcome`` is the reason of the end or of
the refusal, as in the metrics. Sockets that are turned away as they come in, by ``maxConnections`` or while the
proxy drains, have no line; they are counted.

A client chooses its server name. In either format everything but printable ASCII is escaped, so an entry is one
line and a terminal that shows it is safe; in text, what has a space, a quote or an equals sign stands in quotes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from smartproxy.model.facts import agreed
from smartproxy.model.timestamps import Moment
from smartproxy.observe.log_file import LogFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import AccessLogPlan
    from smartproxy.model.record import ClosedConnection

#: The escapes of JSON, which text shares.
_encode = json.JSONEncoder(ensure_ascii=True).encode
_TO_QUOTE = frozenset(' "=\\')


class AccessLog:
    """Writes the lines.

    :param clock: monotonic seconds. :param counters: where lines are counted that could not be written.
    :param moment: both clocks at once, for the dates.
    """

    def __init__(
        self,
        plan: AccessLogPlan,
        counters: Counters,
        clock: Callable[[], float],
        moment: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._counters = counters
        self._moment = moment
        self._written: Callable[[dict[str, object]], str] = _encode if plan.format == "json" else as_text
        self._file = LogFile(plan.path, clock, self._note_lost)
        self.open = self._file.open
        self.reopen = self._file.reopen
        self.close = self._file.close

    def write(self, ended: ClosedConnection) -> None:
        """One is over."""
        self._file.add(self._written(entry(ended, self._moment())))

    def _note_lost(self) -> None:
        self._counters.access_log_dropped += 1


def entry(ended: ClosedConnection, moment: Moment) -> dict[str, object]:
    """What is told of a connection."""
    record = ended.record
    return {
        "time": moment.iso(ended.at),
        "id": record.id,
        "listener": record.listener,
        "route": record.route,
        "clientIp": record.client.host,
        "clientPort": record.client.port,
        "peerIp": record.peer.host,
        "target": None if record.target is None else str(record.target),
        "protocol": record.protocol,
        "sni": record.sni,
        "host": record.host,
        **agreed(record.secured),
        "durationSeconds": round(ended.at - record.opened_at, 6),
        "bytesReceived": record.bytes_received,
        "bytesSent": record.bytes_sent,
        "outcome": ended.outcome,
        "relay": record.relay,
    }


def as_text(values: dict[str, object]) -> str:
    """``key=value``, separated by spaces."""
    return " ".join([f"{key}={_text(value)}" for key, value in values.items()])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, str):
        return str(value)
    quoted = _encode(value)
    bare = quoted[1:-1]
    return bare if bare and bare != "-" and _TO_QUOTE.isdisjoint(bare) else quoted
