"""A route that speaks HTTP, its clients and its target, over a network in memory."""

from __future__ import annotations

import json
from pathlib import Path

from smartproxy import Route
from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from tests.on_network import HOST, NetworkTestCase

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def http_route(name="web", ports=80, *, http=None, action=None, **match):
    """A route that speaks HTTP. Its answers have neither Via nor Date, so that tests can compare them whole with what the target has sent."""
    action = {
        "targets": [{"host": HOST, "port": 9000}],
        "protocol": "http",
        "http": http or {},
        "headers": {"response": {"remove": ["Via", "Date"]}},
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


def parts(received):
    """Status, fields by name, and what follows the head."""
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return int(line.split()[1]), dict(field.split(": ", 1) for field in fields), body


class AnswerCase(HttpCase):
    def ask(self, request=GET, port=80):
        """Status, fields and body of what a new client gets, and the client."""
        client = self.connect(port, request)
        return *parts(client.received), client

    def page(self):
        shown = b"".join(exposition(families(self.proxy.registry, self.proxy.counters))[0]).decode()
        return [line for line in shown.splitlines() if line.startswith("smartproxy_http_requests_total")]

    def log_to(self, *routes, **more):
        self.network.stop(self.proxy)
        self.path = self.mktemp()
        self.start(*routes, access_log={"path": self.path}, **more)

    def lines(self):
        self.network.run(1)
        self.proxy._runtime.accounting.close_log()
        return [json.loads(line) for line in Path(self.path).read_text().splitlines()]
