"""The interface through which the admin listener reaches the running proxy.

A proxy of one process answers at once; where several processes carry the connections, the answers come later. So
everything that only the processes with connections know is a Deferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.metrics.api import NoThroughput, Throughput
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.family import MetricFamily
    from smartproxy.metrics.interfaces import IMetrics
    from smartproxy.metrics.source import ConnectionSource
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.target_status import ShownTarget, Upcoming


class MetricsReading(NamedTuple):
    """What is counted and measured, of all processes together; it is only read.

    :ivar registry: number and bytes of connections.
    :ivar counters: everything else that is counted.
    :ivar metrics: what is computed of both, and rates.
    :ivar more: further metric families of a scrape.
    """

    registry: ConnectionSource
    counters: Counters
    metrics: IMetrics
    more: Sequence[MetricFamily] = ()


class LiveConnections(NamedTuple):
    """Live connections.

    :ivar shown: the oldest ones first, up to the limit, each as :func:`smartproxy.admin.views.connection` shows it.
    :ivar total: how many there are, those beyond the limit included.
    """

    shown: list[dict[str, object]]
    total: int


# ruff: noqa: N805 - an interface has no self


class IProxyControl(Interface):
    """What the admin listener can read and change of a running proxy.

    :class:`~smartproxy.proxy.local_control.LocalControl` implements it for a proxy in the same process.
    """

    plan = Attribute("the :class:`~smartproxy.model.plan.ProxyPlan` in force; a reload replaces it")
    draining = Attribute("``True`` once no new connections are accepted")
    serving = Attribute("``True`` while a process accepts connections")
    throughput: Throughput | NoThroughput = Attribute(
        "``instant()``, ``recent()``, ``average()``, ``custom(seconds)`` and ``history(seconds)`` of all connections together"
    )

    def status() -> Deferred[dict[str, object]]:
        """Facts about the process, as values that JSON can represent."""

    def workers() -> Sequence[dict[str, object]]:
        """The processes that carry connections, as values that JSON can represent."""

    def reading() -> Deferred[MetricsReading]:
        """What is counted and measured now."""

    def live(route: str | None, client: str | None, limit: int) -> Deferred[LiveConnections]:
        """The live connections, oldest first.

        :param route: only those of the route with this name.
        :param client: only those of the client with this address, normalised.
        :param limit: how many are shown at most; 0 or more.
        """

    def end_connection(number: int) -> Deferred[bool]:
        """Close one connection with the reason ``admin``; ``False`` if there is none with that number."""

    def targets(group: str | None) -> Deferred[Sequence[ShownTarget]]:
        """The targets of ``group``, or of all groups.

        :return: fails with :class:`~smartproxy.errors.UnknownTarget` if there is no such group.
        """

    def peek(group: str, client: str | None) -> Deferred[Upcoming]:
        """What the next connection to ``group`` would get, if it came now.

        :param client: the client's IP address; ``None`` is any client.
        :return: fails with :class:`~smartproxy.errors.UnknownTarget` if there is no such group.
        """

    def set_target(group: str, name: str, changes: Mapping[str, object]) -> Deferred[ShownTarget]:
        """Set ``state``, ``weight`` or both of one target: the keys of ``changes``. Nothing is set if one is not valid.

        :return: fires with the target as it is then. Fails with :class:`~smartproxy.errors.UnknownTarget`, and with
            ``ValueError`` if a value is not valid.
        """

    def certificates() -> Deferred[Sequence[ShownCertificate]]:
        """The certificates that clients are shown and those that are still to be issued, in any order."""

    def renew_certificate(name: str) -> Deferred[Sequence[str]]:
        """Order the automatic certificates with this name now; fires with the names of all without waiting for the orders.

        A second call while they are in progress orders nothing more.

        :param name: any of their names, in lower case: a DNS name of A-labels, also ``*.a.example``, or an address.
        :return: fails with :class:`~smartproxy.errors.UnknownCertificate` if no certificate has this name, and with
            :class:`~smartproxy.errors.NotAutomatic` if it is not ordered by ACME.
        """

    def reload() -> Deferred[None]:
        """Read the configuration again and put it in force.

        :return: fires when the new configuration is in force. Fails with
            :class:`~smartproxy.errors.ConfigurationError` if it is invalid, and with ``CannotListenError`` if a port cannot
            be had; then the current one stays in force.
        """

    def replace_routes(routes: list[dict[str, object]]) -> Deferred[None]:
        """Replace all routes with ``routes``, spelt as in the configuration.

        :return: as :meth:`reload`.
        """

    def waiting_for_restart() -> Sequence[str]:
        """The keys of changed settings that are not in force before the process starts again."""

    def drain() -> None:
        """Stop accepting connections; live ones continue. A second call does nothing."""
