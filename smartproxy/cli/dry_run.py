"""The control path of a connection without the connection, for ``smartproxy explain``.

The phases of :mod:`smartproxy.session` are called in its order, with the same compiled objects: the route table, the limits and
lists, the certificates. So what is refused here is refused by the running proxy, for the same reason. No other connection is
live, so no limit on their number is reached.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smartproxy.errors import NotTls, Refused
from smartproxy.model.facts import ApplicationProtocol, Detected, Routed, TlsFacts
from smartproxy.model.outcome import RejectReason
from smartproxy.model.record import ConnectionRecord
from smartproxy.phases.admit import Admit
from smartproxy.phases.look_inside import LookInside
from smartproxy.phases.route import ChooseRoute
from smartproxy.routing.domains import DomainSet
from smartproxy.routing.explain import explain, explain_inside
from smartproxy.routing.table import RouteTable
from smartproxy.security.limits import Admission, RateWindows
from smartproxy.tls.certificate import self_signed_certificate
from smartproxy.tls.context_factory import first_common
from smartproxy.tls.server_contexts import ServerContextCache, ServerContexts
from smartproxy.tls.store import ConfiguredCertificates

if TYPE_CHECKING:
    from smartproxy.flow.side import Side
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Announced
    from smartproxy.model.plan import ProxyPlan, RoutePlan, TerminationPlan
    from smartproxy.tls.certificate import Certificate
    from smartproxy.wire.http_head import RequestHead


class _NoConnections:
    """The counts of a proxy without connections, and the recorder of one that keeps none."""

    active = 0

    def may_open(self, _limit: int) -> bool:
        """There is no connection."""
        return True

    def may_add_client(self, _ip: str, _limit: int) -> bool:
        """No client has a connection."""
        return True

    def may_assign(self, _route: str, _limit: int) -> bool:
        """No route has a connection."""
        return True

    def identify(self, record: ConnectionRecord, client: Endpoint, *, counts: bool) -> None:
        """Nothing is counted."""

    def assign(self, record: ConnectionRecord, route: str) -> None:
        """Nothing is counted."""


async def _no_cancel(_record: ConnectionRecord, _side: Side, _detected: Detected, _route: RoutePlan) -> None:
    """The client asks for no query to be cancelled."""


def _not_counted() -> None:
    """A client without TLS is not counted."""


def _as_issued(route: RoutePlan) -> RoutePlan:
    """``route`` with a certificate in place of each that is ordered: what is explained is how it goes on with one."""
    if route.tls is None or not any(one.automatic for one in route.tls.certificates):
        return route
    made = tuple(
        replace(self_signed_certificate(one.names), source=one.source, automatic=True, names=one.names)
        if one.automatic
        else one
        for one in route.tls.certificates
    )
    return replace(route, tls=replace(route.tls, certificates=made))


def _as_spoken(routed: Routed) -> RoutePlan:
    """The route, without terms of HTTP where the connection is not one of HTTP."""
    route = routed.route
    return route if routed.speaks_http or route.http is None else replace(route, http=None)


class _NoSockets(list[object]):
    """No refused connection lingers."""

    def make_room(self) -> None:
        """There is nothing to close."""


class DryRun:
    """One connection.

    :param detected: what is known of it. An empty client address is an unknown one, and compared with no list.
    :param request: the request inside TLS, if one is given.
    :param local: the address that the client connects to, or nothing.
    :param disabled: the names of disabled routes of the listener.
    :ivar explanation: the route, and why it was chosen.
    :ivar route: the route; the first choice where a look inside TLS finds none.
    :ivar record: its record, as far as the path has come.
    :ivar refused: why it is refused; ``None`` where it is not.
    :ivar certificate: what the client of a route that terminates TLS is shown.
    :ivar is_on_demand: whether a certificate may be ordered for the name that the client asks for.
    :ivar waits: whether the first bytes of a silent client are waited for without a limit.
    :ivar looks_inside: whether the route is chosen again by what is inside TLS.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        detected: Detected,
        request: RequestHead | None = None,
        local: str = "",
        disabled: tuple[str, ...] = (),
    ) -> None:
        plan = replace(plan, routes=tuple(map(_as_issued, plan.routes)))
        self._table = RouteTable(plan.routes)
        self._request = request
        self._local = local
        nothing = _NoConnections()
        self._admit = Admit(
            Admission(plan, nothing, RateWindows(lambda: 0.0), _NoSockets()), nothing, lambda: False
        )
        self._certificates = ConfiguredCertificates(plan)
        self._contexts = ServerContexts(plan, self._certificates, ServerContextCache())
        self._look_inside = LookInside(self._table, self._look, _no_cancel)
        self.explanation = explain(self._table, detected, disabled)
        self.record = ConnectionRecord(0, detected.announced.accepted)
        self.route: RoutePlan | None = None
        self.refused: Refused | None = None
        self.certificate: Certificate | None = None
        self.is_on_demand = False
        self.looks_inside = False
        self.waits = False
        if self._table.routes_on(self.record.listener) is not None:  # else there is nothing to refuse
            try:
                self._follow(detected)
            except Refused as refused:
                self.refused = refused

    def _follow(self, detected: Detected) -> None:
        """The path, as in :meth:`smartproxy.session.ConnectionPath.carry`.

        :raises Refused: where the connection is refused.
        """
        self._admit.client(self.record, detected.announced)
        if detected.silent and self._table.find(detected) is None:
            self._wait_in_vain(detected)
            return
        self.record.protocol = detected.protocol
        at = detected.announced.accepted.listener.rpartition(":")[0]
        only_tls = self._table.takes_only_tls(at, detected.port)
        routed = ChooseRoute(self._table, _not_counted if only_tls else None)(detected)
        self.route = _as_spoken(routed)
        self.looks_inside = self._look_inside.is_due(routed)
        if not self.looks_inside:
            self._admit_to_route(routed)
        if routed.route.tls is not None:
            self._terminate(routed, routed.route.tls)
            if self.looks_inside and self._request is not None:
                routed = self._chosen_again(routed)
        if self.looks_inside:
            self._admit_to_route(routed)

    def _wait_in_vain(self, detected: Detected) -> None:
        """Detection of a client that sends nothing, and that no route takes for it: its deadline expires, if it has one."""
        address = detected.announced.accepted.listener.rpartition(":")[0]
        seconds = self._table.first_bytes_timeout(address, detected.port)
        if seconds:
            raise Refused(
                RejectReason.INITIAL_DATA_TIMEOUT,
                f"no byte was received in {seconds:g} s (initialDataTimeout)",
            )
        self.waits = True

    def _admit_to_route(self, routed: Routed) -> None:
        if not self.record.client.host:
            routed = routed._replace(route=replace(routed.route, allow=None, block=None))
        self._admit.route(self.record, routed)

    def _terminate(self, routed: Routed, tls: TerminationPlan) -> None:
        hello = routed.detected.hello
        if hello is None:
            raise NotTls
        self.is_on_demand = DomainSet(tls.on_demand).best(hello.server_name) is not None
        self.certificate = self._certificates.find(tls, hello, lambda: self._local)
        if self.certificate is not None or not self.is_on_demand:
            self._contexts.for_hello(routed.route, hello, lambda: self._local)
        self.record.secured = TlsFacts("TLS", "", first_common(tls.alpn, hello.alpn))

    def _chosen_again(self, routed: Routed) -> Routed:
        """The second choice, by the request."""
        routes = self._table.inside(routed.detected, routed.route)
        assert routes is not None  # noqa: S101 - the look inside is due
        seen = routed.detected._replace(
            secured=self.record.secured, protocol=ApplicationProtocol.HTTP, request=self._request
        )
        self.explanation = explain_inside(self.explanation, routes, seen)
        side: Any = SimpleNamespace(transport=SimpleNamespace(resumeProducing=lambda: None))
        chosen: list[Routed | Failure] = []
        Deferred.fromCoroutine(self._look_inside(side, routed, self.record)).addBoth(chosen.append)
        [result] = chosen  # it waits for nothing
        if isinstance(result, Failure):
            result.raiseException()
        self.route = _as_spoken(result)
        return result

    async def _look(self, _side: Side, announced: Announced) -> Detected:
        """What detection inside TLS would find."""
        return Detected(announced, ApplicationProtocol.HTTP, request=self._request)
