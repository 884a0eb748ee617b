"""Problems of the PROXY protocol's keys: headers that are sent, and TLVs of those that are received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.tables.route import ProxyHeaderSettings
from smartproxy.settings.tables.rules import is_domain, tlv_value
from smartproxy.wire import proxy_tlv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Match, SendProxyProtocol

#: Bytes of all custom TLVs of a header: half of what nginx accepts of the whole (NGX_PROXY_PROTOCOL_MAX_HEADER, 4096).
_MOST: Final = 2048
#: Type and length of a TLV (section 2.2.7).
_HEAD_SIZE: Final = 3


def problems(header: SendProxyProtocol, path: KeyPath) -> Iterator[Problem]:
    """What makes a ``sendProxyProtocol`` invalid.

    :param path: of the table that has the key.
    """
    if not isinstance(header, ProxyHeaderSettings):
        return
    path = (*path, "sendProxyProtocol")
    custom = header.custom_tlvs
    if header.version == 1:
        for key, is_set in (("tlvs", header.tlvs), ("customTlvs", custom)):
            if is_set:
                yield Problem((*path, key), "has no meaning for version 1")
    yield from _given_twice(custom, (*path, "customTlvs"))
    size = sum(_HEAD_SIZE + len(tlv_value(value)) for value in custom.values())
    if size > _MOST:
        yield Problem((*path, "customTlvs"), f"has {size} bytes; receivers may refuse more than {_MOST}")


def match_problems(match: Match, path: KeyPath) -> Iterator[Problem]:
    """What makes a ``match.proxyTlv`` invalid."""
    path = (*path, "proxyTlv")
    yield from _given_twice(match.proxy_tlv, path)
    for name, written in match.proxy_tlv.items():
        if proxy_tlv.type_of(name) != proxy_tlv.PP2_TYPE_AUTHORITY:
            continue
        for value in [written] if isinstance(written, str) else written:
            if not is_domain(value):
                message = f'must be a name like "example.com", "*.example.com" or "*" {got(value)}'
                yield Problem((*path, name), message)


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Valid settings that look like mistakes."""
    if settings.accept_proxy_protocol == "require" and not settings.proxy_ips:
        yield Problem(
            ("acceptProxyProtocol",), 'is "require", but proxyIPs is empty: no client is asked for a header'
        )
    why = "proxyIPs is empty" if not settings.proxy_ips else "acceptProxyProtocol is false"
    if settings.proxy_ips and settings.accept_proxy_protocol is not False:
        return
    for index, route in enumerate(settings.routes):
        if route.match.proxy_tlv:
            message = f"can never match: {why}, so no PROXY header is read"
            yield Problem(("routes", index, "match", "proxyTlv"), message)
    if "proxy_header_timeout" in settings.model_fields_set:
        yield Problem(("proxyHeaderTimeout",), f"has no effect: {why}, so no PROXY header is read")
    for path, header in _sent(settings):
        if isinstance(header, ProxyHeaderSettings) and "passThrough" in header.tlvs:
            message = f"has passThrough, but {why}, so no PROXY header is read"
            yield Problem((*path, "sendProxyProtocol", "tlvs"), message)


def _sent(settings: Configuration) -> Iterator[tuple[KeyPath, SendProxyProtocol]]:
    """Every place that may have ``sendProxyProtocol``, with its value."""
    yield (), settings.send_proxy_protocol
    yield ("defaults",), settings.defaults.send_proxy_protocol
    for name, group in settings.target_groups.items():
        for number, target in group.written_targets():
            yield ("targetGroups", name, "targets", number), target.send_proxy_protocol
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        if route.enabled:
            yield path, route.action.send_proxy_protocol
            for number, target in route.action.written_targets():
                yield (*path, "targets", number), target.send_proxy_protocol


def _given_twice(names: Iterable[str], path: KeyPath) -> Iterator[Problem]:
    """Types that are written in two ways."""
    seen: dict[int, str] = {}
    for name in names:
        first = seen.setdefault(proxy_tlv.type_of(name), name)
        if first != name:
            yield Problem((*path, name), f"is the same type as {first}")
