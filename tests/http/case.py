"""A route that speaks HTTP, its clients and its target, over a network in memory."""

from __future__ import annotations

from smartproxy import Route
from tests.on_network import HOST, NetworkTestCase

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def http_route(name="web", ports=80, *, http=None, action=None, **match):
    """A route that speaks HTTP. Its answers have no Via, so that tests can compare them whole with what the target has sent."""
    action = {
        "targets": [{"host": HOST, "port": 9000}],
        "protocol": "http",
        "http": http or {},
        "headers": {"response": {"remove": ["Via"]}},
        **(action or {}),
    }
    return Route(name=name, match={"ports": ports, **match}, action=action)


class HttpCase(NetworkTestCase):
    def setUp(self):
        super().setUp()
        self.start(http_route())

    def answer(self, data=OK, number=-1):
        """The target sends ``data`` on its connection of this number."""
        self.backend.connections[number].write(data)
        self.network.settle()

    def received(self, number=-1):
        """What the target was sent: the head's lines, and what follows."""
        head, _, body = bytes(self.backend.connections[number].received).partition(b"\r\n\r\n")
        return head.split(b"\r\n"), body

    def exchange(self, client, request=GET, answer=OK):
        """What the client gets for a request."""
        before = len(client.received)
        client.write(request)
        self.network.settle()
        self.answer(answer)
        return bytes(client.received[before:])
