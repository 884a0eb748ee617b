"""Switching a connection to another protocol (RFC 9110, 7.8), such as WebSocket (RFC 6455).

Only after a true 101: the client has asked for one protocol, and the target has agreed to that one. From then on the
connection is a tunnel, relayed as one of TCP is. Until then nothing but HTTP is sent either way, because a client may
otherwise hide requests behind an upgrade that the target has refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.wire.http_fields import tokens
from smartproxy.wire.http_framing import Body

if TYPE_CHECKING:
    from smartproxy.model.exchange import Exchange
    from smartproxy.wire.http_answer import AnswerHead

#: HTTP/2 without TLS by upgrade: RFC 9113 has removed it, and the requests in it would reach the target unseen.
_REFUSED = frozenset({"h2c", "h2", "http/2.0"})


def upgrade_of(exchange: Exchange) -> str:
    """The protocol that a request asks for, in lower case; empty for none, and where it must not be passed on."""
    head = exchange.head
    asked = tokens(head.fields.noted("upgrade"))
    if len(asked) != 1 or head.version == (1, 0) or exchange.framing.body is not Body.NONE:
        return ""
    wanted = "upgrade" in tokens(head.fields.noted("connection")) and asked[0] not in _REFUSED
    return asked[0] if wanted else ""


def upgrade_lines(protocol: str) -> bytes:
    """The fields that ask for ``protocol``, or agree to it."""
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol.encode("latin-1")


def agrees(head: AnswerHead, protocol: str) -> bool:
    """Whether a 101 switches to the ``protocol`` that was asked for."""
    return bool(protocol) and tokens(head.fields.noted("upgrade")) == [protocol]
