"""Switching a connection to another protocol (RFC 9110, 7.8), such as WebSocket (RFC 6455).

Only after a true 101: the client has asked for one protocol, and the target has agreed to that one. From then on the
connection is a tunnel, relayed as one of TCP is. Until then nothing but HTTP is sent either way, because a client may
otherwise hide requests behind an upgrade that the target has refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.wire.http_fields import tokens

if TYPE_CHECKING:
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_fields import Fields

#: HTTP/2 without TLS by upgrade: RFC 9113 has removed it, and the requests in it would reach the target unseen.
_REFUSED = frozenset({"h2c", "h2", "http/2.0"})
_UPGRADE_REQUIRED = 426


def asked_protocol(fields: Fields) -> str:
    """The protocol that a request of HTTP/1.1 without a body asks for, in lower case; empty for none, and where it must not be passed on."""
    asked = tokens(fields.noted("upgrade"))
    if len(asked) != 1 or asked[0] in _REFUSED:
        return ""
    return asked[0] if "upgrade" in tokens(fields.noted("connection")) else ""


def upgrade_lines(protocol: str) -> bytes:
    """The fields that ask for ``protocol``, or agree to it."""
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol.encode("latin-1")


def required_lines(head: AnswerHead) -> bytes:
    """The fields of a 426, by which a client learns what it has to ask for (RFC 9110, 15.5.22); nothing of any other answer."""
    required = head.fields.noted("upgrade") if head.status == _UPGRADE_REQUIRED else []
    return upgrade_lines(", ".join(required)) if required else b""


def agrees(head: AnswerHead, protocol: str) -> bool:
    """Whether a 101 switches to the ``protocol`` that was asked for."""
    return bool(protocol) and tokens(head.fields.noted("upgrade")) == [protocol]
