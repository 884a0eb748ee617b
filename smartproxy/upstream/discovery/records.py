"""The records of names as this machine knows them: from ``/etc/hosts``, from the DNS, or from the system's resolver.

Names are looked up as ``getaddrinfo`` does it: an address is itself, ``/etc/hosts`` comes first, then the DNS with the search
domains of ``resolv.conf``. The DNS is asked here and not through ``getaddrinfo``, because that reports no TTL. A name that the
DNS does not know may be known in another way (mDNS, NSS modules): then the system's resolver is asked, too. An embedding
program that has installed a name resolver (``installNameResolver``) decides about addresses alone.
"""

from __future__ import annotations

from math import inf
from secrets import randbits
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP
from zope.interface import implementer

from smartproxy.errors import DialFailed, LookupFailed
from smartproxy.flow.names import has_own_resolver
from smartproxy.upstream.discovery.dns import NAME_ERROR, DnsClient
from smartproxy.upstream.discovery.exchange import NetworkExchange
from smartproxy.upstream.discovery.interfaces import Answer, IRecords, Service
from smartproxy.upstream.discovery.messages import RecordType
from smartproxy.upstream.discovery.resolv_conf import (
    local_addresses,
    system_hosts,
    system_name_servers,
)
from smartproxy.wire.host import host_name, is_address, normalise_address, packed_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.upstream.discovery.messages import DnsReply
    from smartproxy.upstream.discovery.resolv_conf import NameServers
    from smartproxy.upstream.interfaces import IResolver

#: Aliases that are asked for, where a server does not follow them itself.
_MOST_ALIASES = 8
_ID_BITS = 16


@implementer(IRecords)
class Records:
    """Looks names up.

    :param dns: ``None`` where the reactor cannot watch sockets.
    :param servers: the name servers now, for their search domains.
    :param hosts: the names of ``/etc/hosts`` now.
    :param system: the system's resolver.
    :param is_own: whether addresses are asked of ``system`` alone.
    """

    def __init__(
        self,
        dns: DnsClient | None,
        servers: Callable[[], NameServers],
        hosts: Callable[[], Mapping[str, tuple[str, ...]]],
        system: IResolver,
        is_own: Callable[[], bool],
    ) -> None:
        self._dns = dns
        self._servers = servers
        self._hosts = hosts
        self._system = system
        self._is_own = is_own
        #: Names that only the system's resolver knows.
        self._by_system: set[str] = set()

    def addresses(self, name: str, known: Sequence[str]) -> Deferred[Answer]:
        """See :class:`~smartproxy.upstream.discovery.interfaces.IRecords`."""
        return Deferred.fromCoroutine(self._addresses(name, known))

    def services(self, name: str, known: Sequence[Service]) -> Deferred[Answer]:
        """See :class:`~smartproxy.upstream.discovery.interfaces.IRecords`."""
        return Deferred.fromCoroutine(self._services(name))

    def stop(self) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.IRecords`."""
        self._by_system.clear()
        if self._dns is not None:
            self._dns.stop()

    async def _addresses(self, name: str, known: Sequence[str]) -> Answer:
        if is_address(name):
            return Answer((normalise_address(name),), inf)
        if self._is_own() or self._dns is None:
            return await self._of_system(name)
        plain = _ascii(name)
        listed = self._hosts().get(plain) or local_addresses(plain)
        if listed:
            return _answer(listed, None)
        try:
            answer = await self._of_dns(name, known)
        except LookupFailed:
            if known and name not in self._by_system:
                raise
            answer = await self._of_system(name)
            self._by_system.add(name)
        else:
            self._by_system.discard(name)
        return answer

    async def _of_system(self, name: str) -> Answer:
        try:
            found = await self._system.resolve(name)
        except DialFailed as why:
            raise LookupFailed(why.detail) from None
        return _answer(found, None)

    async def _of_dns(self, name: str, known: Sequence[str]) -> Answer:
        """The addresses of the first full name that has any."""
        failed: LookupFailed | None = None
        for full in self._full_names(name):
            try:
                answer = await self._both_families(full, known)
            except LookupFailed as why:
                failed = failed or why
                continue
            if answer.records:
                return answer
        raise failed or LookupFailed("the DNS has no address of it", is_negative=True)

    async def _both_families(self, name: str, known: Sequence[str]) -> Answer:
        kinds = RecordType.A, RecordType.AAAA
        asked = await DeferredList([self._followed(name, kind) for kind in kinds], consumeErrors=True)
        failures = [_why(result) for is_answered, result in asked if not is_answered]
        if len(failures) == len(kinds):
            raise failures[0]
        found: list[str] = []
        ttls: list[float] = []
        kept: list[str] = []
        for (is_answered, result), is_v6 in zip(asked, (False, True), strict=True):
            if is_answered:
                found += cast("tuple[str, ...]", result.records)
                ttls += [] if result.ttl is None else [result.ttl]
            else:
                kept += [address for address in known if (":" in address) is is_v6]
        if failures and not found:
            raise failures[0]
        return _answer(found + kept, 0.0 if failures else min(ttls, default=None))

    async def _services(self, name: str) -> Answer:
        if self._dns is None:
            raise LookupFailed("this reactor cannot ask the DNS: it watches no sockets")
        failed: LookupFailed | None = None
        for full in self._full_names(name):
            try:
                reply = await self._followed(full, RecordType.SRV)
            except LookupFailed as why:
                failed = failed or why
                continue
            if reply.records or reply.is_unavailable:
                services = cast("tuple[Service, ...]", reply.records)
                return Answer(tuple(sorted(services)), reply.ttl)
        raise failed or LookupFailed("the DNS has no SRV record of it", is_negative=True)

    def _followed(self, name: str, kind: RecordType) -> Deferred[DnsReply]:
        return Deferred.fromCoroutine(self._follow(name, kind))

    async def _follow(self, name: str, kind: RecordType) -> DnsReply:
        """The answer for ``name``, or for the name that it is an alias of."""
        assert self._dns is not None  # noqa: S101 - the caller has seen it
        ttls: list[int] = []
        for _ in range(_MOST_ALIASES):
            reply = await self._dns.ask(name, kind)
            ttls += [] if reply.ttl is None else [reply.ttl]
            if reply.records or reply.is_unavailable or reply.name == name or reply.code == NAME_ERROR:
                return reply._replace(ttl=min(ttls, default=None))
            name = reply.name
            if host_name(name.encode("utf-8", "replace")) is None:
                break
        raise LookupFailed("its aliases lead to no record")

    def _full_names(self, name: str) -> list[str]:
        absolute = "." if name.endswith(".") else ""
        names = self._servers().full_names(_ascii(name) + absolute)
        return [full for full in names if host_name(full.encode()) is not None]


def system_records(reactor: Any, clock: IReactorTime, system: IResolver) -> Records:
    """The records that this machine gets.

    :param system: resolves names with the reactor's resolver.
    """
    servers = system_name_servers()
    dns = None
    if IReactorFDSet.providedBy(reactor) and IReactorTCP.providedBy(reactor):
        dns = DnsClient(servers, NetworkExchange(reactor, clock), lambda: randbits(_ID_BITS))
    return Records(dns, servers, system_hosts(), system, lambda: has_own_resolver(reactor))


def _why(failed: object) -> LookupFailed:
    """The exception of one of several questions."""
    why = cast("Failure", failed).value
    return why if isinstance(why, LookupFailed) else LookupFailed(f"{type(why).__name__}: {why}")


def _answer(addresses: Sequence[str], ttl: float | None) -> Answer:
    """Sorted: servers give the same addresses in another order each time. IPv4 comes first."""
    unique: list[str] = sorted(dict.fromkeys(addresses), key=_place)
    return Answer(tuple(unique), ttl)


def _place(address: str) -> tuple[int, bytes]:
    packed = packed_address(address)
    return len(packed), packed


def _ascii(name: str) -> str:
    """In lower case, without a final dot."""
    return name.lower().removesuffix(".")
