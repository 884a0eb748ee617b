"""Routes whose requests are answered by the proxy itself, over a network in memory."""

from __future__ import annotations

import re

from smartproxy import Route
from tests.http.case import HttpCase

DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")


def local_route(name="local", ports=81, *, match=None, security=None, **action):
    return Route(
        name=name,
        match={"ports": ports, **(match or {})},
        action=action,
        **({"security": security} if security else {}),
    )


def request(target="/", host="a.example", method="GET", more="", body=b"", version="1.1"):
    """A request; ``more`` are lines of fields."""
    named = f"Host: {host}\r\n" if host else ""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/{version}\r\n{named}{more}{length}\r\n"
    return head.encode("latin-1") + body


class Answer:
    """One answer as it was received, without Date."""

    def __init__(self, received):
        head, _, self.body = received.partition(b"\r\n\r\n")
        self.whole = DATE.sub(b"", received)
        self.has_date = DATE.search(head + b"\r\n") is not None
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1]) if first else 0
        self.fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def __getattr__(self, name):
        return self.fields.get(name.replace("_", "-"))


class LocalCase(HttpCase):
    """Port 81 has the local route."""

    def local(self, *routes, http=None, **action):
        self.network.stop(self.proxy)
        more = {"http": http} if http else {}
        self.start(*(routes or (local_route(**more, **action),)))

    def ask(self, *args, client=None, port=81, **keys):
        """The answer to a request."""
        client = client or self.connect(port)
        before = len(client.received)
        client.write(request(*args, **keys))
        self.network.settle()
        return Answer(bytes(client.received[before:]))


class HandlerCase(LocalCase):
    """Port 81 has a handler."""

    def handle(self, handler, **more):
        self.local(local_route(type="handler", handler=handler, **more))

    def failures(self):
        return [type(failure.value) for failure in self.flushLoggedErrors()]
