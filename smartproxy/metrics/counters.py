"""Event counters of the process: by route, by reject reason, by PROXY header, by TLS handshake.

One :class:`Counters` lives as long as the process and survives every reload, so that the counters of what stays configured
are never reset. The series of a route begin at 0 when it is configured, and end when it has been removed and its last
connection is closed: else every update of routes with new names would make the page of metrics longer for ever. They stay
for one more scrape, which reads their last values.
The counters are plain integers in slots: 55 ns per increment, where a labelled counter of prometheus-client takes
1.5 microseconds. :mod:`smartproxy.metrics.prometheus` reads them when Prometheus scrapes.

A label is a route name, which comes from the configuration, or a member of a closed set. No key is ever derived from
what a client sent, so the configuration bounds the number of series.

Bytes are counted in the :class:`~smartproxy.model.record.ConnectionRecord` and nowhere else. They are added to
``received`` and ``sent`` of the route after the connection is closed; the totals of a route are these plus the bytes of
its live connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from smartproxy.metrics.histogram import DIAL_BOUNDS, DURATION_BOUNDS, HANDSHAKE_BOUNDS, Histogram
from smartproxy.metrics.requests import RequestCounters
from smartproxy.metrics.targets import NoTargets
from smartproxy.model.outcome import CloseReason, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from smartproxy.metrics.targets import TargetSource

#: Version of a trusted peer's PROXY header; ``none`` without a header, or if it was too short to tell.
HeaderVersion: TypeAlias = Literal["1", "2", "none"]
#: Result of reading a PROXY header of a trusted peer. ``missing``: a header is required and there was none.
HeaderResult: TypeAlias = Literal["ok", "invalid", "missing", "timeout"]
#: Kinds of dead connections: see :mod:`smartproxy.connections.zombies`.
ZombieKind: TypeAlias = Literal["full", "half", "stuck"]
#: Result of a TLS handshake with a client: ``refused`` before it began, ``not_tls`` if the client sent no ClientHello.
HandshakeResult: TypeAlias = Literal["ok", "failed", "refused", "not_tls"]

#: Result of forwarding a PostgreSQL CancelRequest to one target; ``dropped``: there were too many at once.
CancelResult: TypeAlias = Literal["ok", "failed", "dropped"]

_VERSIONS: tuple[HeaderVersion, ...] = ("1", "2", "none")
_RESULTS: tuple[HeaderResult, ...] = ("ok", "invalid", "missing", "timeout")
_HANDSHAKES: tuple[tuple[HandshakeResult, str], ...] = (
    ("ok", "TLSv1.2"), ("ok", "TLSv1.3"), ("failed", "none"), ("refused", "none"), ("not_tls", "none"),
)  # fmt: skip
#: Results of an OCSP request: the status in the response, a response that failed its checks, or no response.
_OCSP_RESULTS = ("good", "revoked", "unknown", "invalid", "unanswered")
_KINDS: tuple[ZombieKind, ...] = ("full", "half", "stuck")


#: Seconds for which the series of a removed route outlive its last connection: Prometheus's usual interval of scrapes.
LAST_SCRAPE = 15.0
#: Largest number of such routes. Beyond it the one that has waited longest is dropped.
MOST_UNUSED = 16
#: The route label of a connection that was closed before it had a route.
UNROUTED = ""


class RouteCounters:
    """Counters of one route.

    :ivar opened: connections that the route was chosen for.
    :ivar active: those of them that are live.
    :ivar unsettled: connections that count for the route, and whose bytes are not in ``received`` and ``sent`` yet: live, or
        waiting for clean-up. Those of HTTP count for each route that a request of theirs had.
    :ivar received: bytes received from clients, of closed connections.
    :ivar sent: bytes sent to clients, of closed connections.
    :ivar closed: closed connections by reason; a reason that never occurred is not in it.
    :ivar dial_seconds: time to connect to a target, all attempts of a connection together.
    :ivar duration_seconds: lifetime of closed connections.
    :ivar requests: its HTTP requests; ``None`` before the first.
    """

    __slots__ = (
        "active", "closed", "dial_seconds", "duration_seconds", "opened", "received", "requests", "sent", "unsettled",
    )  # fmt: skip

    def __init__(self) -> None:
        self.opened = 0
        self.active = 0
        self.unsettled = 0
        self.received = 0
        self.sent = 0
        self.closed: dict[CloseReason, int] = {}
        self.dial_seconds = Histogram(DIAL_BOUNDS)
        self.duration_seconds = Histogram(DURATION_BOUNDS)
        self.requests: RequestCounters | None = None

    def of_requests(self) -> RequestCounters:
        """The counters of its HTTP requests; they are created on first use."""
        if self.requests is None:
            self.requests = RequestCounters()
        return self.requests

    def close(self, reason: CloseReason) -> None:
        """Count a closed connection. The registry adds its bytes and duration."""
        self.closed[reason] = self.closed.get(reason, 0) + 1


#: The counters of every route that was never used. Nothing is counted in it.
UNUSED: Final = RouteCounters()


class Counters:
    """All counters of the process. Closed sets start with every member at 0.

    :ivar routes: of each route that was used, :data:`UNROUTED` for connections closed before they had a route. See :meth:`series`.
    :ivar closed_before: closed connections by reason, of the routes that have been dropped.
    :ivar rejected: refused connections by reason.
    :ivar proxy_headers: PROXY headers of trusted peers by (version, result).
    :ivar zombies: dead connections by kind.
    :ivar access_log_dropped: lines that could not be written to the access log.
    :ivar handshakes: TLS handshakes with clients by (result, version).
    :ivar resumed: successful handshakes that resumed a session.
    :ivar handshake_seconds: duration of successful handshakes.
    :ivar postgres_cancels: PostgreSQL's requests to cancel a query by result, one for each target.
    :ivar certificate_reloads: attempts to load a certificate that changed on disk, by result.
    :ivar certificate_expiry: gives when each certificate expires, in seconds since the epoch, by its first name. Of several with
        the same one the earliest counts, also for the next renewal.
    :ivar ocsp_responses: OCSP requests by result.
    :ivar acme_orders: orders of automatic certificates that have ended, by result.
    :ivar acme_next_renewal: gives when each automatic certificate is ordered next, in seconds since the epoch, by its first name.
        The service that orders them replaces it.
    :ivar config_reloads: changes of the configuration by result.
    :ivar config_reload_ok: whether the last one succeeded; true before the first.
    :ivar targets: knows the counts of targets.
    :ivar config_reload_at: when it ended, in seconds since the epoch; before the first, when the proxy was created.
    """

    __slots__ = (
        "_configured", "_unused", "access_log_dropped", "acme_next_renewal", "acme_orders", "certificate_expiry",
        "certificate_reloads", "closed_before", "config_reload_at", "config_reload_ok", "config_reloads",
        "handshake_seconds", "handshakes", "ocsp_responses", "postgres_cancels", "proxy_headers", "rejected", "resumed",
        "routes", "targets", "zombies",
    )  # fmt: skip

    def __init__(self) -> None:
        self.routes: dict[str, RouteCounters] = {}
        self.closed_before: dict[CloseReason, int] = {}
        self._configured: AbstractSet[str] | None = None
        self._unused: dict[str, float] = {}
        self.rejected = dict.fromkeys(RejectReason, 0)
        self.proxy_headers: dict[tuple[str, str], int] = {
            (version, result): 0 for version in _VERSIONS for result in _RESULTS
        }
        self.zombies: dict[str, int] = dict.fromkeys(_KINDS, 0)
        self.access_log_dropped = 0
        self.handshakes: dict[tuple[str, str], int] = dict.fromkeys(_HANDSHAKES, 0)
        self.handshake_seconds = Histogram(HANDSHAKE_BOUNDS)
        self.resumed = 0
        self.postgres_cancels: dict[str, int] = dict.fromkeys(("ok", "failed", "dropped"), 0)
        self.certificate_reloads: dict[str, int] = dict.fromkeys(("ok", "failed"), 0)
        self.certificate_expiry: Callable[[], Mapping[str, float]] = dict
        self.ocsp_responses: dict[str, int] = dict.fromkeys(_OCSP_RESULTS, 0)
        self.acme_orders: dict[str, int] = dict.fromkeys(("ok", "failed"), 0)
        self.acme_next_renewal: Callable[[], Mapping[str, float]] = dict
        self.config_reloads: dict[str, int] = dict.fromkeys(("ok", "failed"), 0)
        self.config_reload_ok = True
        self.config_reload_at = 0.0
        self.targets: TargetSource = NoTargets()

    def route(self, name: str) -> RouteCounters:
        """Return the counters of the route ``name``; they are created on first use."""
        of_route = self.routes.get(name)
        if of_route is None:
            of_route = self.routes[name] = RouteCounters()
        return of_route

    def series(self) -> Iterator[tuple[str, RouteCounters]]:
        """Every route that is configured, used or not, and then the others that were used."""
        configured = self._configured or ()
        for name in configured:
            yield name, self.routes.get(name, UNUSED)
        for name, of_route in self.routes.items():
            if name not in configured:
                yield name, of_route

    def keep(self, names: AbstractSet[str], now: float) -> None:
        """Begin the series of the routes ``names``, and end those of others.

        Until the first call, none ends.

        :param names: is kept, and not looked through: 10,000 names in memory that processes share would be copied.
        :param now: monotonic seconds.
        """
        self._configured = names
        for name in [name for name in self._unused if name in names]:
            del self._unused[name]  # else it would be dropped early when it is removed again
        for name in [name for name in self.routes if name not in names and name not in self._unused]:
            self._end_if_unused(name, now)

    def settle(self, name: str, now: float) -> None:
        """A connection of the route ``name`` is closed, and its bytes are in the counters."""
        self.route(name).unsettled -= 1
        if self._configured is not None and name not in self._configured:
            self._end_if_unused(name, now)

    def prune(self, now: float) -> None:
        """Drop removed routes that have had no connection for :data:`LAST_SCRAPE`; called about once per second."""
        for name, since in list(self._unused.items()):
            requests = self.routes[name].requests
            if requests is not None and (requests.active or requests.upgrades):
                self._unused[name] = now  # on a connection of another route
            elif now - since >= LAST_SCRAPE:
                self._drop(name)

    def _end_if_unused(self, name: str, now: float) -> None:
        """Drop a removed route without connections: at once where it never had one, else after a last scrape."""
        of_route = self.routes[name]
        if name == UNROUTED or of_route.unsettled > 0:
            return
        if not of_route.opened and of_route.requests is None:
            self._drop(name)
            return
        self._unused.pop(name, None)
        self._unused[name] = now
        if len(self._unused) > MOST_UNUSED:
            self._drop(next(iter(self._unused)))

    def _drop(self, name: str) -> None:
        self._unused.pop(name, None)
        if self._configured is not None and name in self._configured:
            return  # a reload has added it again
        if self.routes[name].unsettled > 0:
            return  # a connection accepted before the removal got it
        for reason, count in self.routes.pop(name).closed.items():
            self.closed_before[reason] = self.closed_before.get(reason, 0) + count

    def reject(self, reason: RejectReason) -> None:
        """Count a refused connection."""
        self.rejected[reason] += 1

    def refused_request(self, method: str, status: int) -> None:
        """Count an HTTP request that was answered when its connection was refused, before it had a route."""
        self.route(UNROUTED).of_requests().count(method, status, 0.0)

    def proxy_header(self, version: HeaderVersion, result: HeaderResult) -> None:
        """Count the PROXY header of a trusted peer, or its absence.

        :raises KeyError: for a label outside of the closed sets, so that no client can add a series.
        """
        self.proxy_headers[version, result] += 1

    def handshake(self, seconds: float, version: str, *, resumed: bool) -> None:
        """Count a successful handshake with a client."""
        self.handshakes["ok", version] += 1
        self.handshake_seconds.observe(seconds)
        self.resumed += resumed

    def no_handshake(self, result: HandshakeResult) -> None:
        """Count a handshake that failed or was refused."""
        self.handshakes[result, "none"] += 1

    def cancel(self, result: CancelResult) -> None:
        """Count a PostgreSQL CancelRequest for one target."""
        self.postgres_cancels[result] += 1

    def config_reload(self, at: float, *, ok: bool) -> None:
        """Count a change of the configuration that has succeeded or failed.

        :param at: seconds since the epoch.
        """
        self.config_reloads["ok" if ok else "failed"] += 1
        self.config_reload_ok = ok
        self.config_reload_at = at

    def zombie(self, kind: ZombieKind) -> None:
        """Count a dead connection."""
        self.zombies[kind] += 1
