"""A proxy in a Twisted application, beside another service: ``twistd -ny tap/smartproxy.tac``.

A callable of the application selects the backend for each connection to 127.0.0.1:8080.
"""

from itertools import cycle

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

from smartproxy import Action, Match, Route, Routed, Settings, SmartProxy, Target

PORTS = (9101, 9102)

application = Application("proxy-with-backends")

for port in PORTS:
    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    StreamServerEndpointService(endpoint, Factory.forProtocol(Echo)).setServiceParent(application)

turns = cycle(PORTS)


def next_port(routed: Routed) -> int:
    """The port for one connection. ``routed`` has the facts of the connection, which are not needed here."""
    return next(turns)


settings = Settings(
    admin=True,
    routes=[
        Route(
            name="echo",
            match=Match(ports=8080, address="127.0.0.1"),
            action=Action(targets=[Target(host="127.0.0.1", port=next_port)]),
        ),
    ],
)
SmartProxy(settings).setServiceParent(application)
