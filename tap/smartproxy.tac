"""A proxy inside of a Twisted application, beside a service of its own: ``twistd -ny tap/smartproxy.tac``.

Connections to 127.0.0.1:8080 go to whichever backend the application says at that moment.
"""

from itertools import cycle

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

from smartproxy import Route, Settings, SmartProxy

PORTS = (9101, 9102)

application = Application("proxy-with-backends")

for port in PORTS:
    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    StreamServerEndpointService(endpoint, Factory.forProtocol(Echo)).setServiceParent(application)

turns = cycle(PORTS)


def next_port(routed):
    """The port for one connection. ``routed`` has all that is known of it; here nothing of that matters."""
    return next(turns)


settings = Settings(
    admin=True,
    routes=[
        Route(
            name="echo",
            match={"ports": 8080, "address": "127.0.0.1"},
            action={"targets": [{"host": "127.0.0.1", "port": next_port}]},
        ),
    ],
)
SmartProxy(settings).setServiceParent(application)
