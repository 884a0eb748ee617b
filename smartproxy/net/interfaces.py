"""The interfaces of dialing one address, over the poller or over the reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

    from smartproxy.model.address import TargetAddress


# ruff: noqa: N805 - an interface has no self


class IConnecting(Interface):
    """An attempt to connect that is in progress."""

    def stopConnecting() -> None:
        """Cancel the attempt. The factory is told of the failure, as with Twisted's connectors."""


class IDialer(Interface):
    """Connects to one address, once: over the poller, or over the reactor."""

    connects_at_once = Attribute("Whether an attempt has its local address as soon as ``dial`` returns.")

    def dial(
        to: TargetAddress, factory: ClientFactory, timeout: float, source: str = ""
    ) -> IConnecting | None:
        """Connect to ``to`` within ``timeout`` seconds (0: the kernel's own limit).

        ``source`` is the local address to connect from, of the same family; empty leaves it to the system. A unix
        socket has none.

        Ends in ``factory.buildProtocol`` and the protocol's ``connectionMade``, or in
        ``factory.clientConnectionFailed(connecting, failure)``; perhaps before this returns, and then what it
        returns may be None.
        """
