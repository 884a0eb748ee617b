"""The fields of a connection that the admin API shows while it lives, and the access log at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.facts import ApplicationProtocol, agreed
from smartproxy.model.shown_tlvs import shown_tlvs

if TYPE_CHECKING:
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.timestamps import Moment


def connection_fields(record: ConnectionRecord, moment: Moment) -> dict[str, object]:
    """The fields by name, in their order; an unknown value is ``None``."""
    return {
        "id": record.id,
        "listener": record.listener,
        "route": record.route,
        "clientIp": record.client.host,
        "clientPort": record.client.port,
        "peerIp": record.peer.host,
        "proxyProtocol": record.proxy_version,
        "proxyTlvs": shown_tlvs(record.header),
        "target": None if record.target is None else str(record.target),
        "protocol": record.protocol,
        "tls": record.protocol is ApplicationProtocol.TLS,
        "sni": record.sni,
        "host": record.host,
        **agreed(record.secured),
        "keepAlive": record.keep_alive,
        "bytesReceived": record.bytes_received,
        "bytesSent": record.bytes_sent,
        "openedAt": moment.iso(record.opened_at),
        "lastActivityAt": moment.iso(record.last_activity_at),
        "relay": record.relay,
    }
