"""DNS messages: a question, and what an answer says about it. The bytes are read and written by ``twisted.names.dns``.

Answers come from the network, so nothing in them is trusted: only records that the chain of aliases (CNAME) from the name
asked for leads to are used, of the class IN, and the chain is bounded.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.names import dns

from smartproxy.upstream.discovery.interfaces import Service
from smartproxy.wire.host import address_text, host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

#: RFC 6891, 6.1.2: type of the record that announces how long an answer by UDP may be, and that length. DNS flag day 2020:
#: 1232 bytes pass every IPv6 path without fragments.
_OPT: Final = 41
_UDP_SIZE: Final = 1232
#: Aliases followed in one answer, and records read of it: a thousand targets are the most that are used.
_MOST_ALIASES: Final = 16
_MOST_RECORDS: Final = 2048


class RecordType(IntEnum):
    """What is asked for (RFC 1035, 3.2.2; RFC 3596; RFC 2782)."""

    A = 1
    AAAA = 28
    SRV = 33


class DnsReply(NamedTuple):
    """An answer.

    :ivar code: RCODE (RFC 1035, 4.1.1).
    :ivar is_truncated: whether it did not fit, so that TCP must be used.
    :ivar name: the last name of the chain of aliases.
    :ivar records: those of that name: addresses, or :class:`Service`.
    :ivar ttl: the least one of the records and the aliases; ``None`` without any.
    :ivar is_unavailable: whether there are SRV records, and each says that there is no such service (RFC 2782: the target ``.``).
    """

    code: int
    is_truncated: bool
    name: str
    records: tuple[object, ...] = ()
    ttl: int | None = None
    is_unavailable: bool = False


def question(number: int, name: str, kind: RecordType, *, extended: bool = True) -> bytes:
    """The message that asks for records of ``name``.

    :param number: of the message, 16 bits.
    :param name: a host name without its final dot.
    :param extended: whether to announce room for long answers. Some servers refuse that.
    """
    message = dns.Message(id=number, recDes=1)
    message.addQuery(name.encode("ascii"), kind, dns.IN)
    if extended:
        message.additional = [dns.RRHeader(b"", _OPT, _UDP_SIZE, 0, dns.UnknownRecord())]
    return message.toStr()


def read_reply(data: bytes, number: int, name: str, kind: RecordType) -> DnsReply | None:
    """The reply in ``data``; ``None`` where that is no reply to this question."""
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:
        return None
    asked = message.queries[:1]
    if message.id != number or not message.answer or len(message.queries) != 1:
        return None
    if _text(asked[0].name) != name.lower() or (asked[0].type, asked[0].cls) != (kind, dns.IN):
        return None
    return _chain(message, name.lower(), kind)


def _chain(message: Any, name: str, kind: RecordType) -> DnsReply:
    """Follow the aliases of ``name``."""
    answers = [one for one in message.answers[:_MOST_RECORDS] if one.cls == dns.IN]
    aliases = {_text(one.name): one for one in answers if one.type == dns.CNAME}
    ttls: list[int] = []
    for _ in range(_MOST_ALIASES):
        alias = aliases.get(name)
        if alias is None:
            break
        ttls.append(alias.ttl)
        name = _text(alias.payload.name)
    own = [one for one in answers if one.type == kind and _text(one.name) == name]
    ttls += [one.ttl for one in own]
    records = dict.fromkeys(record for one in own for record in _records(one.payload, kind))
    is_unavailable = kind is RecordType.SRV and bool(own) and all(not one.payload.target.name for one in own)
    return DnsReply(
        message.rCode, bool(message.trunc), name, tuple(records), min(ttls, default=None), is_unavailable
    )


def _records(payload: Any, kind: RecordType) -> Iterator[object]:
    if kind is RecordType.SRV:
        host = host_name(payload.target.name)
        if host is not None and payload.port:
            yield Service(payload.priority, payload.weight, payload.port, host)
    else:
        yield address_text(payload.address)


def _text(name: Any) -> str:
    return str(name.name.decode("ascii", "replace").lower().removesuffix("."))
