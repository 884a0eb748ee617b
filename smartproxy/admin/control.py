"""The interface through which the admin listener reaches the running proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.metrics.interfaces import IMetrics
    from smartproxy.model.certificate_status import ShownCertificate


# ruff: noqa: N805 - an interface has no self


class IProxyControl(Interface):
    """What the admin listener can read and change of a running proxy.

    :class:`~smartproxy.SmartProxy` implements it, and so does a test double: the admin API is tested without a reactor.
    """

    registry = Attribute("the :class:`~smartproxy.connections.registry.Registry` of live connections")
    counters = Attribute("the :class:`~smartproxy.metrics.counters.Counters` of the process")
    metrics: IMetrics = Attribute("the metrics of the process")
    plan = Attribute("the :class:`~smartproxy.model.plan.ProxyPlan` in force; a reload replaces it")
    groups = Attribute("the :class:`~smartproxy.upstream.steering.TargetGroups`: what state targets are in")
    draining = Attribute("``True`` once no new connections are accepted")

    def status() -> dict[str, object]:
        """Facts about the process, as values that JSON can represent."""

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

    def certificates() -> Sequence[ShownCertificate]:
        """The certificates that clients are shown and those that are still to be issued, in any order."""

    def renew_certificate(name: str) -> Sequence[str]:
        """Order the automatic certificate with this name now; return its names without waiting for the order.

        A second call while the order is in progress orders nothing more.

        :param name: any of its names, in lower case: a DNS name of A-labels, also ``*.a.example``, or an address.
        :raises UnknownCertificate: if no certificate has this name.
        :raises NotAutomatic: if it is not ordered by ACME.
        """

    def end_connection(number: int) -> bool:
        """Close one connection with the reason ``admin``; ``False`` if there is none with that number."""
