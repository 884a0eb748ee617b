"""The access log: one line for every closed or refused connection.

::

    {"time": "2026-01-02T03:04:05.678Z", "id": 17, "listener": ":443", "route": "web", "clientIp": ...}
    time=2026-01-02T03:04:05.678Z id=17 listener=:443 route=web clientIp=192.0.2.1 ... outcome=normal relay=splice

Its fields are those of ``connections`` in the admin API, with their last values, and what is known at the end only:
``outcome`` is the close or reject reason, as in the metrics; ``detail`` says why in words, ``side`` which end it was;
``attempts`` counts the addresses that were dialed, ``dialSeconds`` is how long that took. A refused connection has the
route that refused it, and the target that was tried last.

An HTTP connection has a line for each of its exchanges instead, written when the exchange has ended: first the exchange's own
fields, then those of the connection, which are formatted once.

A line is written when the connection is cleaned up, so a hundred thousand connections that are lost at once are written in
batches; see also :mod:`~smartproxy.observe.log_file`. ``time`` is when the connection was closed. An unknown value is ``null``, or
``-`` in text. Sockets that are closed right after accept, because of ``maxConnections`` or while the proxy drains, have no line; the
metrics count them.

A client chooses its server name, its Host and its path. Both formats escape everything but printable ASCII, so an entry is always
one line and safe to print on a terminal. In text, a value with a space, a quote or an equals sign is quoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from smartproxy.model.ending import detail_of, side_of
from smartproxy.model.facts import ApplicationProtocol, agreed
from smartproxy.model.outcome import LONGEST_PATH
from smartproxy.model.shown_tlvs import shown_tlvs
from smartproxy.model.timestamps import Moment
from smartproxy.observe.connection_fields import connection_fields
from smartproxy.observe.line_format import BOOLEANS, JSON, TEXT
from smartproxy.observe.log_file import LogFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import AccessLogPlan
    from smartproxy.model.record import ClosedConnection, ConnectionRecord
    from smartproxy.observe.line_format import LineFormat

#: Fields of an exchange, in the order of :func:`exchange_values`.
_EXCHANGE_NAMES = (
    "time", "route", "requestId", "method", "host", "path", "status", "requestBytes", "responseBytes", "durationSeconds",
    "dialSeconds", "firstByteSeconds", "target", "attempts", "reused", "userAgent", "referer", "detail", "bytesReceived",
    "bytesSent", "lastActivityAt", "relay",
)  # fmt: skip
#: Fields of a connection that all of its exchanges have in common, in the order of :func:`common_values`.
_COMMON_NAMES = (
    "id", "listener", "clientIp", "clientPort", "peerIp", "proxyProtocol", "proxyTlvs", "protocol", "tls", "sni", "tlsVersion",
    "cipher", "alpn", "clientCertificate", "keepAlive", "openedAt",
)  # fmt: skip
#: Microseconds; to round a number and to find its shortest text costs four times as much.
_SECONDS: Final = "%.6f"
#: Seconds for which the relation of the two clocks is taken for the same.
_SAME_MOMENT = 0.1
#: Number of fields of :func:`~smartproxy.model.facts.agreed`.
_AGREED = 4


class AccessLog:
    """Writes one line per closed connection.

    :param counters: counts the lines that could not be written.
    :param clock: for the delay of what is written; its seconds are monotonic.
    :param moment: monotonic and wall clock read together, to convert record times to dates.
    :param inherited: as for :class:`~smartproxy.observe.log_file.LogFile`.
    """

    def __init__(
        self,
        plan: AccessLogPlan,
        counters: Counters,
        clock: IReactorTime,
        moment: Callable[[], Moment] = Moment.now,
        inherited: int | None = None,
    ) -> None:
        self._counters = counters
        self._moment = moment
        self._read_moment = moment()
        self._format: LineFormat
        self._of_exchanges: str
        self._of_connections: dict[int, str] = {}
        self.set_format(plan.format)
        self._file = LogFile(plan.path, clock, self._count_dropped, inherited)
        self.open = self._file.open
        self.reopen = self._file.reopen
        self.flush = self._file.flush
        self.close = self._file.close

    def set_format(self, name: Literal["json", "text"]) -> None:
        """Set the format of the lines from now on."""
        form = self._format = JSON if name == "json" else TEXT
        self._common = form.template(_COMMON_NAMES)
        self._of_exchanges = form.line(form.template(_EXCHANGE_NAMES) + form.between + "%s")
        self._of_connections.clear()

    def write(self, closed: ClosedConnection) -> None:
        """Write the line of a closed connection. One that spoke HTTP has those of its exchanges instead."""
        record, form = closed.record, self._format
        if record.exchanges:
            self._of_connections.pop(record.id, None)
            return
        self._file.add(form.line(form.part(entry(closed, self._moment()))))

    def write_exchange(self, exchange: Exchange, at: float) -> None:
        """Write the line of an HTTP exchange that has ended at ``at``, in monotonic seconds."""
        record, form, moment = exchange.record, self._format, self._read_moment
        if not 0 <= at - moment.monotonic < _SAME_MOMENT:
            moment = self._read_moment = self._moment()
        common = self._of_connections.get(record.id)
        if common is None:
            common = self._of_connections[record.id] = self._common % common_values(record, moment, form)
        self._file.add(self._of_exchanges % exchange_values(exchange, at, moment, form, common))

    def _count_dropped(self) -> None:
        self._counters.access_log_dropped += 1


def entry(closed: ClosedConnection, moment: Moment) -> dict[str, object]:
    """The fields of a line, in their order."""
    record, outcome = closed.record, closed.outcome
    seconds = record.dial_seconds
    return {
        "time": moment.iso(closed.at),
        **connection_fields(record, moment),
        "route": record.route or record.refused_by,
        "path": None if record.path is None else record.path[:LONGEST_PATH],
        "durationSeconds": round(closed.at - record.opened_at, 6),
        "attempts": record.attempts,
        "dialSeconds": None if seconds is None else round(seconds, 6),
        "outcome": outcome,
        "side": side_of(record, outcome),
        "detail": detail_of(record, outcome),
    }


def common_values(record: ConnectionRecord, moment: Moment, form: LineFormat) -> tuple[str | int, ...]:
    """What is written for each of the fields that all exchanges of a connection have in common."""
    text, unknown, secured = form.text, form.unknown, record.secured
    tlvs = shown_tlvs(record.header)
    return (
        record.id,
        text(record.listener),
        text(record.client.host),
        record.client.port,
        text(record.peer.host),
        record.proxy_version,
        unknown if tlvs is None else form.value(tlvs),
        text(record.protocol),
        BOOLEANS[record.protocol is ApplicationProtocol.TLS],
        unknown if record.sni is None else text(record.sni),
        *((unknown,) * _AGREED if secured is None else map(form.value, agreed(secured).values())),
        BOOLEANS[record.keep_alive],
        text(moment.iso(record.opened_at)),
    )


def exchange_values(
    exchange: Exchange, at: float, moment: Moment, form: LineFormat, common: str
) -> tuple[str | int, ...]:
    """What is written for each of an exchange's fields, and last ``common``, the fields of its connection as they are written."""
    text, unknown = form.text, form.unknown
    record, head, began_at = exchange.record, exchange.head, exchange.began_at
    dialed, answered_at, target = exchange.dial_seconds, exchange.answered_at, exchange.target
    user_agent, referer = head.fields.noted("user-agent"), head.fields.noted("referer")
    active_at = record.last_activity_at
    time = text(moment.iso(at))
    return (
        time,
        text(exchange.routed.route.name) if exchange.is_counted else unknown,
        text(exchange.id),
        text(head.method) if head.method else unknown,  # of a malformed head that has none
        unknown if head.host is None else text(head.host),
        _bounded(head.path, text) if head.path else unknown,
        unknown if exchange.status is None else exchange.status,
        exchange.request_bytes,
        exchange.response_bytes,
        _SECONDS % (at - began_at),
        unknown if dialed is None else _SECONDS % dialed,
        unknown if answered_at is None else _SECONDS % (answered_at - began_at),
        unknown if target is None else text(str(target)),
        exchange.attempts,
        BOOLEANS[exchange.is_reused],
        _bounded(user_agent[0], text) if user_agent else unknown,
        _bounded(referer[0], text) if referer else unknown,
        text(exchange.detail) if exchange.detail else unknown,
        record.bytes_received,
        record.bytes_sent,
        time if active_at == at else text(moment.iso(active_at)),
        unknown if record.relay is None else text(record.relay),
        common,
    )


def _bounded(value: str, text: Callable[[str], str]) -> str:
    """The beginning of ``value`` as ``text`` writes it, in at most :data:`LONGEST_PATH` characters and two quotes.

    An escape takes up to six characters, and the client chooses what is escaped.
    """
    begin = value[:LONGEST_PATH]
    written = text(begin)
    while len(written) > LONGEST_PATH + 2:
        begin = begin[: len(begin) * LONGEST_PATH // len(written)]
        written = text(begin)
    return written
