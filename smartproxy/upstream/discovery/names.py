"""Targets found by name: every address of it (``addresses: all``), or every answer of an SRV record (``srv``).

An answer is applied in one step. When an SRV record names new hosts, their addresses are asked for first; the former targets
stay until all of them are known, or for :data:`GRACE` where one is slow, and in any case until one of them is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from zope.interface import implementer

from smartproxy.model.plan.target import Discover
from smartproxy.upstream.discovery.interfaces import ITargetSource, Service
from smartproxy.upstream.discovery.shares import target_weights
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.plan import OriginationPlan, TargetPlan
    from smartproxy.upstream.discovery.watched import WatchedName, WatchedNames

#: Seconds to wait for the addresses of new hosts before the others are used without them.
GRACE: Final = 1.0


class _Found(NamedTuple):
    """One address of an answer.

    :ivar name: the host name that has it: what a certificate is for.
    """

    address: str
    name: str
    port: int | None
    weight: int
    backup: bool


class _Terms:
    """The plans of what is found, with the terms of ``template``. The same address gives the same object again."""

    def __init__(self, template: TargetPlan) -> None:
        self._template = template
        self._plans: dict[_Found, TargetPlan] = {}

    def plans(self, found: Sequence[_Found]) -> tuple[TargetPlan, ...]:
        self._plans = {one: self._plans.get(one) or self._plan(one) for one in found}
        return tuple(self._plans.values())

    def _plan(self, found: _Found) -> TargetPlan:
        template, check = self._template, self._template.check
        if check is not None and not is_address(found.name):
            check = replace(check, tls=_named(check.tls, found.name))
            if check.http.host is None:
                check = replace(check, http=replace(check.http, host=_authority(found, check.port)))
        return replace(
            template,
            hosts=(found.address,),
            port=found.port,
            name="",
            weight=found.weight,
            backup=found.backup,
            tls=_named(template.tls, found.name),
            check=check,
            known_as=found.name,
            discover=Discover.NOTHING,
        )


def _named(tls: OriginationPlan | None, name: str) -> OriginationPlan | None:
    """``tls`` for a target that is known by its address, and whose certificate is for ``name``."""
    if tls is None or tls.server_name is not None or is_address(name):
        return tls
    return replace(tls, server_name=name)


def _authority(found: _Found, checked: int | None) -> str:
    port = found.port if checked is None else checked
    return found.name if port is None else f"{found.name}:{port}"


@implementer(ITargetSource)
class AddressTargets:
    """Every address of the hosts of ``template`` is a target."""

    def __init__(self, template: TargetPlan, names: WatchedNames) -> None:
        self.targets: tuple[TargetPlan, ...] = ()
        self.is_settled = False
        self._template = template
        self._terms = _Terms(template)
        self._hosts = cast("tuple[str, ...]", template.hosts)
        self._names = names
        self._watched: list[tuple[str, WatchedName]] = []
        self._changed: Callable[[], None] = _ignore

    def start(self, changed: Callable[[], None]) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._watched = [(host, self._names.use("addresses", host, self._update)) for host in self._hosts]
        self._update()
        self._changed = changed

    def stop(self) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._changed = _ignore
        for host in self._hosts:
            self._names.release("addresses", host, self._update)

    def _update(self) -> None:
        template = self._template
        port = cast("int | None", template.port)
        found = {
            address: _Found(address, host.lower().rstrip("."), port, template.weight, template.backup)
            for host, watched in reversed(self._watched)  # an address of several names is that of the first
            for address in watched.records
        }
        order = [address for _, watched in self._watched for address in watched.records]
        targets = self._terms.plans([found[address] for address in dict.fromkeys(order)])
        before = self.targets, self.is_settled
        self.targets = targets
        self.is_settled = all(watched.is_settled for _, watched in self._watched)
        if before != (self.targets, self.is_settled):
            self._changed()


@implementer(ITargetSource)
class ServiceTargets:
    """Every answer of the SRV records of ``template`` is a target, for each address of its host."""

    def __init__(self, template: TargetPlan, names: WatchedNames, deadlines: Deadlines) -> None:
        self.targets: tuple[TargetPlan, ...] = ()
        self.is_settled = False
        self._template = template
        self._terms = _Terms(template)
        (self._name,) = cast("tuple[str, ...]", template.hosts)
        self._names = names
        self._deadlines = deadlines
        self._service: WatchedName | None = None
        #: The records in use, and those that wait for addresses.
        self._records: tuple[Service, ...] = ()
        self._hosts: dict[str, WatchedName] = {}
        self._grace: Deadline | None = None
        self._changed: Callable[[], None] = _ignore

    def start(self, changed: Callable[[], None]) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._service = self._names.use("services", self._name, self._update)
        self._records = self._service.in_use
        self._update()
        self._changed = changed

    def stop(self) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._changed = _ignore
        self._end_grace()
        for host in self._hosts:
            self._release(host)
        self._service = None
        self._names.release("services", self._name, self._update)

    def _use(self, host: str) -> WatchedName:
        # The names in a record are absolute: they are not completed with search domains.
        return self._names.use("addresses", f"{host}.", self._update)

    def _release(self, host: str) -> None:
        self._names.release("addresses", f"{host}.", self._update)

    def _update(self) -> None:
        """Something that this depends on has changed."""
        service = self._service
        if service is None:
            return
        new = cast("tuple[Service, ...]", service.records)
        self._follow_hosts((*self._records, *new))
        if new != self._records:
            if not self._are_settled(new):
                self._grace = self._grace or self._deadlines.call_later(GRACE, self._after_grace)
            elif not new or self._have_address(new):
                self._switch()
        self._publish(service)

    def _follow_hosts(self, records: tuple[Service, ...]) -> None:
        """Ask for the addresses of the hosts of ``records``, and of no others."""
        hosts = {record.host for record in records}
        for host in hosts - self._hosts.keys():
            self._hosts[host] = self._use(host)
        for host in self._hosts.keys() - hosts:
            del self._hosts[host]
            self._release(host)

    def _are_settled(self, records: tuple[Service, ...]) -> bool:
        return all(self._hosts[record.host].is_settled for record in records)

    def _have_address(self, records: tuple[Service, ...]) -> bool:
        return any(self._hosts[record.host].records for record in records)

    def _after_grace(self) -> None:
        """A host is slow: go on with the others, if there are any."""
        self._grace = None
        service = self._service
        assert service is not None  # noqa: S101 - it has been started
        if self._have_address(service.records):
            self._switch()
            self._publish(service)
        elif not self._are_settled(service.records):
            self._grace = self._deadlines.call_later(GRACE, self._after_grace)

    def _switch(self) -> None:
        """Use the new records, and forget the hosts that are only in the former ones."""
        assert self._service is not None  # noqa: S101 - it has been started
        self._end_grace()
        self._records = self._service.in_use = self._service.records
        self._follow_hosts(self._records)

    def _publish(self, service: WatchedName) -> None:
        before = self.targets, self.is_settled
        self.targets = self._terms.plans(list(self._found()))
        self.is_settled = service.is_settled and self._are_settled(service.records)
        if before != (self.targets, self.is_settled):
            self._changed()

    def _found(self) -> Iterator[_Found]:
        """The lowest priority serves, the others are backups. An address that is listed twice is that of the first record."""
        known = [record for record in self._records if self._hosts[record.host].records]
        lowest = min((record.priority for record in known), default=0)
        seen: set[tuple[str, int]] = set()
        for is_backup in (False, True):
            tier = [record for record in known if (record.priority > lowest) is is_backup]
            weights = target_weights([(one.weight, len(self._hosts[one.host].records)) for one in tier])
            for record, weight in zip(tier, weights, strict=True):
                for address in self._hosts[record.host].records:
                    if (address, record.port) not in seen:
                        seen.add((address, record.port))
                        backup = is_backup or self._template.backup
                        yield _Found(address, record.host, record.port, weight, backup)

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _ignore() -> None:
    """It is not started, or stopped."""
