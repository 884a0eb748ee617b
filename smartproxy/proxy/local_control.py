"""What the admin listener reads and changes of a proxy in its own process.

::

    control = LocalControl(proxy)
    reading = await control.reading()        # has fired: nothing waits for another process
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from smartproxy.admin.control import IProxyControl, MetricsReading
from smartproxy.admin.views import live_connections
from smartproxy.model.timestamps import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartproxy.admin.control import LiveConnections
    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.api import NoThroughput, Throughput
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.service import Metrics, NoMetrics
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.model.target_status import ShownTarget, Upcoming
    from smartproxy.upstream.steering import TargetGroups

#: Who sets the state of a target, for the log.
_WHO = "the admin API"


class AnsweringProxy(Protocol):
    """What is used of a :class:`~smartproxy.proxy.core.ProxyCore`; its methods are described there."""

    draining: bool

    @property
    def registry(self) -> Registry: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def metrics(self) -> Metrics | NoMetrics: ...

    @property
    def groups(self) -> TargetGroups: ...

    def status(self) -> dict[str, object]: ...

    def certificates(self) -> Sequence[ShownCertificate]: ...

    def renew_certificate(self, name: str) -> Sequence[str]: ...

    def end_connection(self, number: int) -> bool: ...


class ConfiguredProxy(Protocol):
    """What is used of a proxy that reads its configuration, in one process or for several."""

    draining: bool

    @property
    def plan(self) -> ProxyPlan: ...

    def reload(self) -> Deferred[None]: ...

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]: ...

    def waiting_for_restart(self) -> Sequence[str]: ...

    def drain(self) -> None: ...


class LocalProxy(AnsweringProxy, ConfiguredProxy, Protocol):
    """What is used of a :class:`~smartproxy.SmartProxy`."""


class ProxyAnswers:
    """What is known of one proxy, and what is changed without its configuration. Every Deferred has fired already.

    :param moment: monotonic and wall clock read together, to convert record times to dates.
    """

    def __init__(self, proxy: AnsweringProxy, moment: Callable[[], Moment] = Moment.now) -> None:
        self._proxy = proxy
        self._moment = moment

    @property
    def throughput(self) -> Throughput | NoThroughput:
        """The throughput of all connections together."""
        return self._proxy.metrics.throughput

    def status(self) -> Deferred[dict[str, object]]:
        """Facts about the process."""
        return execute(self._proxy.status)

    def reading(self) -> Deferred[MetricsReading]:
        """The proxy's own objects: later events change them."""
        return succeed(MetricsReading(self._proxy.registry, self._proxy.counters, self._proxy.metrics))

    def live(self, route: str | None, client: str | None, limit: int) -> Deferred[LiveConnections]:
        """The live connections, oldest first."""
        return execute(live_connections, self._proxy.registry, route, client, limit, self._moment())

    def end_connection(self, number: int) -> Deferred[bool]:
        """Close one connection; ``False`` if there is none with that number."""
        return execute(self._proxy.end_connection, number)

    def targets(self, group: str | None) -> Deferred[Sequence[ShownTarget]]:
        """The targets of ``group``, or of all groups."""
        return execute(self._proxy.groups.targets, group)

    def peek(self, group: str, client: str | None) -> Deferred[Upcoming]:
        """What the next connection to ``group`` would get."""
        return execute(self._proxy.groups.peek, group, client)

    def set_target(self, group: str, name: str, changes: Mapping[str, object]) -> Deferred[ShownTarget]:
        """Set ``state``, ``weight`` or both of one target."""
        return execute(self._set_target, group, name, changes)

    def hold_target(self, group: str, name: str, changes: Mapping[str, object]) -> Deferred[None]:
        """Let what was set of a target in another process hold here, too, also of one that is not known yet."""
        state, weight = cast("str | None", changes.get("state")), cast("int | None", changes.get("weight"))
        return execute(self._proxy.groups.hold, group, name, state, weight)

    def _set_target(self, group: str, name: str, changes: Mapping[str, object]) -> ShownTarget:
        groups = self._proxy.groups
        weight, state = changes.get("weight"), changes.get("state")
        if weight is not None and not isinstance(weight, int):
            raise ValueError("weight must be a number, or null for that of the configuration")
        if "state" in changes:
            groups.check_state(state)
        if "weight" in changes:
            groups.set_weight(group, name, weight, by=_WHO)
        if "state" in changes:
            groups.set_state(group, name, str(state), by=_WHO)
        (shown,) = [one for one in groups.targets(group) if one.name == name]
        return shown

    def certificates(self) -> Deferred[Sequence[ShownCertificate]]:
        """The certificates in force, and those still to be issued."""
        return execute(self._proxy.certificates)

    def renew_certificate(self, name: str) -> Deferred[Sequence[str]]:
        """Order the automatic certificate with this name now."""
        return execute(self._proxy.renew_certificate, name)


@implementer(IProxyControl)
class LocalControl(ProxyAnswers):
    """The control of one proxy, its configuration included.

    :param moment: as for :class:`ProxyAnswers`.
    """

    def __init__(self, proxy: LocalProxy, moment: Callable[[], Moment] = Moment.now) -> None:
        super().__init__(proxy, moment)
        self._configured = proxy
        self.reload = proxy.reload
        self.replace_routes = proxy.replace_routes
        self.waiting_for_restart = proxy.waiting_for_restart
        self.drain = proxy.drain

    def workers(self) -> list[dict[str, object]]:
        """The one process."""
        facts = self._configured.status()
        state = "draining" if self.draining else "serving"
        known = {name: facts[name] for name in ("pid", "connections", "uptimeSeconds")}
        return [{"slot": 1, "generation": 1, "state": state, **known}]

    @property
    def plan(self) -> ProxyPlan:
        """The configuration in force."""
        return self._configured.plan

    @property
    def serving(self) -> bool:
        """Whether connections are accepted: this process binds its ports before its admin listener."""
        return not self.draining

    @property
    def draining(self) -> bool:
        """Whether no new connections are accepted."""
        return self._configured.draining
