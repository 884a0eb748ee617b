"""Twisted's HTTP client without two log lines for each connection ("Starting factory", "Stopping factory").

::

    agent = quiet_agent(reactor)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.internet.protocol import Factory
    from twisted.web.client import URI
    from twisted.web.iweb import IPolicyForHTTPS


def quiet_agent(reactor: Any, policy: IPolicyForHTTPS | None = None) -> Agent:
    """An agent that keeps no connections.

    :param policy: how certificates are verified; by default as browsers do, with the authorities of the system.
    """
    endpoints = _QuietEndpoints(reactor, policy or BrowserLikePolicyForHTTPS())
    agent: Agent = Agent.usingEndpointFactory(reactor, endpoints)
    return agent


@implementer(IAgentEndpointFactory)
class _QuietEndpoints:
    """Where to connect for a URL."""

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See IAgentEndpointFactory."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, uri.host, uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _QuietEndpoint(endpoint)


@implementer(IStreamClientEndpoint)
class _QuietEndpoint:
    """An endpoint whose factory does not log."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        cast("Factory", protocolFactory).noisy = False
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected
