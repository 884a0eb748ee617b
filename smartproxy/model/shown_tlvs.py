"""The TLVs of a PROXY header, as the access log and the API show them: bounded, printable ASCII on one line.

A trusted proxy has sent them, but what is in them may be its client's choice. So only the first :data:`MOST` are shown, and of
each value the first :data:`LONGEST` bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.wire import proxy_tlv
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from smartproxy.wire.proxy_header import ProxyHeader

#: TLVs shown of a header. Proxies and clouds send up to five.
MOST: Final = 8
#: Bytes shown of a value: as many as the longest unique id has.
LONGEST: Final = 128
#: They say nothing about the connection.
_LEFT_OUT: Final = frozenset({proxy_tlv.PP2_TYPE_CRC32C, proxy_tlv.PP2_TYPE_NOOP})


def shown_tlvs(header: ProxyHeader | None) -> dict[str, str] | None:
    """Values by the name of their type; several values of one type are joined by a comma. ``None`` without any."""
    if header is None or not header.tlvs:
        return None
    shown: dict[str, str] = {}
    for kind, value in [tlv for tlv in header.tlvs if tlv.type not in _LEFT_OUT][:MOST]:
        name, text = proxy_tlv.name_of(kind), _text(kind, value)
        shown[name] = f"{shown[name]},{text}" if name in shown else text
    return shown or None


def _text(kind: int, value: bytes) -> str:
    if kind == proxy_tlv.PP2_TYPE_SSL:
        info = proxy_tlv.parse_ssl(value)
        if not isinstance(info, Malformed):
            parts = (("version", info.version), ("cipher", info.cipher), ("cn", info.cn))
            known = [f"{name}={_bounded(part)}" for name, part in parts if part is not None]
            return " ".join([f"client={info.client.value} verify={info.verify}", *known])
    return _bounded(value)


def _bounded(value: bytes) -> str:
    return proxy_tlv.text_of(value[:LONGEST]) + ("..." if len(value) > LONGEST else "")
