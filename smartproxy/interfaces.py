"""The seams: where an embedder or a second implementation plugs in.

An interface stands here only where two things stand behind it. Twisted's own interfaces (``ITCPTransport``,
``IProtocolFactory``, ``IService``) are used as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import ClientFactory

    from smartproxy.metrics.reading import Cleanup, Percentiles, Totals
    from smartproxy.model.address import Endpoint
    from smartproxy.model.outcome import CloseReason, RejectReason
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.shown import ShownCertificate


# ruff: noqa: N805 - an interface has no self


class IConnecting(Interface):
    """An attempt to connect, under way."""

    def stopConnecting() -> None:
        """Give it up. The factory is told of the failure, as Twisted's connectors do."""


class IDialer(Interface):
    """Connects to one address, once: over the poller, or over the reactor."""

    def dial(to: Endpoint, factory: ClientFactory, timeout: float) -> IConnecting | None:
        """Connect to ``to`` within ``timeout`` seconds (0: the kernel's own limit).

        Ends in ``factory.buildProtocol`` and the protocol's ``connectionMade``, or in
        ``factory.clientConnectionFailed(connecting, failure)``; perhaps before this returns, and then what it
        returns may be None.
        """


class IResolver(Interface):
    """Names to addresses, without blocking."""

    def resolve(name: str) -> Deferred[Sequence[str]]:
        """All addresses of ``name``, both families, in the order to try them.

        Fails with :class:`~smartproxy.errors.DialFailed`, never with an empty answer.
        """


class IRelay(Interface):
    """Moves the bytes of one linked connection, both ways, until both have ended.

    Every byte that was handed on is told to the record, once. Half-close passes through, in either
    direction; so does a reset. Neither side is read while the other does not take.
    """

    record: ConnectionRecord = Attribute("What the bytes are told to.")

    def start(header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """Begin. ``header`` goes upstream first and is not counted; then ``held``, the client's first bytes.

        ``ended``: the client's FIN has come already. The Deferred fires when both sockets have been let go.
        """

    def gone() -> tuple[bool, bool]:
        """Whether the client's and the upstream's socket are gone, as the kernel says."""

    def abort(reason: CloseReason) -> None:
        """End both sides now, with a reset; the Deferred fires with ``reason``."""


class IMetrics(Interface):
    """What a proxy counts and measures, as ``proxy.metrics``. Everything told is a copy of one moment."""

    connections = Attribute(
        """``active()``, ``total()``, ``by_route()``, ``by_ip()`` and ``top_ips(n)``: see
        :class:`~smartproxy.metrics.reading.Connections`."""
    )
    throughput = Attribute(
        """``instant()``, ``recent()``, ``average()``, ``custom(seconds)``, ``history(seconds)``, ``by_route()``
        and ``by_ip()``, in bytes per second: see :class:`~smartproxy.metrics.reading.Throughput`."""
    )

    def totals() -> Totals:
        """Bytes and connections since the process began: from the records only, live and ended."""

    def closed() -> dict[CloseReason, int]:
        """Ended connections by reason: every reason, from 0."""

    def rejected() -> dict[RejectReason, int]:
        """Refused connections by reason: every reason, from 0."""

    def zombies() -> dict[str, int]:
        """Dead connections that a sweep found, by kind."""

    def cleanup() -> Cleanup:
        """The queue of what has ended."""

    def percentiles() -> Percentiles:
        """How long ended connections lived, and how much they carried."""


class IProxyControl(Interface):
    """What the admin listener may see of a running proxy, and may ask of it.

    The service keeps it; a test double keeps it too, so that the admin API is tested without a reactor.
    """

    registry = Attribute("the :class:`~smartproxy.connections.registry.Registry` of live connections")
    tallies = Attribute("the :class:`~smartproxy.model.tallies.Tallies` of the process")
    metrics: IMetrics = Attribute("what is counted and measured")
    plan = Attribute("the :class:`~smartproxy.model.plan.ProxyPlan` in force; another one after a reload")
    draining = Attribute("``True`` from the moment in which no new connection is taken any more")

    def status() -> dict[str, object]:
        """Facts about the process for a person: plain values that JSON can carry."""

    def reload() -> Deferred[None]:
        """Read the configuration again and put it in force.

        :return: fires when it is. Fails with :class:`~smartproxy.errors.ConfigurationError` where the
            configuration is not valid, and then the old one goes on.
        """

    def replace_routes(routes: list[dict[str, object]]) -> Deferred[None]:
        """Put these routes in force in place of all others, spelt as in the configuration.

        :return: as :meth:`reload`.
        """

    def drain() -> None:
        """Take no new connections; those that are there go on to their own end. Repeating it is harmless."""

    def certificates() -> Sequence[ShownCertificate]:
        """The certificates that clients are shown, those first that expire first."""

    def end_connection(number: int) -> bool:
        """End one connection with the reason ``admin``. ``False`` where there is none of that number."""
