"""What the admin listener asks of a running proxy."""

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
    """What the admin listener may see of a running proxy, and may ask of it.

    The service keeps it; a test double keeps it too, so that the admin API is tested without a reactor.
    """

    registry = Attribute("the :class:`~smartproxy.connections.registry.Registry` of live connections")
    counters = Attribute("the :class:`~smartproxy.metrics.counters.Counters` of the process")
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
