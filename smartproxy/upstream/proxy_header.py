"""The PROXY header for a target, which announces the client and precedes its bytes.

A TLV that is named in the configuration is sent where its value is known: from the header that a trusted proxy has sent,
so that a chain of proxies announces the same values, else from this connection. Values that the configuration gives itself
replace received ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.side import destination_of
from smartproxy.wire import proxy_tlv, proxy_v1, proxy_v2
from smartproxy.wire.proxy_header import Tlv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Detected, Routed, TlsFacts
    from smartproxy.model.plan import SendHeader, TargetPlan

#: Those of :data:`~smartproxy.wire.proxy_tlv.TYPE_NAMES` that have a value here, in the order in which they are sent.
_SENT = ("alpn", "authority", "uniqueId", "ssl")
#: The verify result where no certificate was verified, also because there was none (X509_V_ERR_UNSPECIFIED).
_NOT_VERIFIED = 1
#: TLVs that belong to one header only and are never passed on.
_OWN = frozenset({proxy_tlv.PP2_TYPE_CRC32C, proxy_tlv.PP2_TYPE_NOOP})


class SendProxyHeader:
    """Builds headers.

    :param unique: makes an identifier that no other connection has, for ``uniqueId``.
    """

    def __init__(self, unique: Callable[[], bytes]) -> None:
        self._unique = unique

    def __call__(self, routed: Routed, target: TargetPlan, side: Side) -> bytes:
        """The header for ``target``; empty where it gets none."""
        sending = target.send_header
        if sending is None:
            return b""
        announced = routed.detected.announced
        client, local = announced.client, destination_of(announced, side)
        if sending.version == 1:
            return proxy_v1.build(client, local)
        tlvs = tuple(self._tlvs(sending, routed.detected))
        return proxy_v2.build(client, local, tlvs=tlvs, crc32c="crc32c" in sending.tlvs)

    def _tlvs(self, sending: SendHeader, detected: Detected) -> Iterator[Tlv]:
        header = detected.announced.header
        received = header.tlvs if header is not None else ()
        named = {proxy_tlv.TYPE_NAMES[name]: name for name in _SENT if name in sending.tlvs}
        for kind, name in named.items():
            value = next((tlv.value for tlv in received if tlv.type == kind), None) or self._own(
                name, detected
            )
            if value is not None:
                yield Tlv(kind, value)
        yield from sending.custom
        if "passThrough" in sending.tlvs:
            ours = {*named, *(tlv.type for tlv in sending.custom), *_OWN}
            yield from (tlv for tlv in received if tlv.type not in ours)

    def _own(self, name: str, detected: Detected) -> bytes | None:
        """The value for this connection. In passthrough the negotiated ALPN and TLS parameters are unknown here."""
        secured = detected.secured
        if name == "ssl" and secured is not None:
            return _ssl(secured)
        if name == "alpn" and secured is not None and secured.alpn is not None:
            return secured.alpn.encode("latin-1")
        if name == "authority" and detected.asked_name is not None:
            return detected.asked_name.encode()
        if name == "uniqueId":
            return self._unique()
        return None


def _ssl(secured: TlsFacts) -> bytes:
    """The result of the client's TLS handshake with this proxy (PROXY protocol, 2.2.7.6)."""
    client = proxy_tlv.SslClient.SSL
    shown = secured.client is not None
    if shown:
        client |= proxy_tlv.SslClient.CERT_SESS
        if not secured.resumed:
            client |= proxy_tlv.SslClient.CERT_CONN
    return proxy_tlv.build_ssl(
        proxy_tlv.SslInfo(
            client,
            0 if secured.verified else _NOT_VERIFIED,
            version=secured.version.encode("ascii"),
            cn=secured.common_name.encode() or None,
            cipher=secured.cipher.encode("ascii"),
        )
    )
