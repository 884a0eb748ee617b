"""A configuration with which every phase of a connection waits, and what a client sends to each."""

from __future__ import annotations

from smartproxy.wire import client_hello, proxy_v2
from tests.sessions.memory_proxy import route

OUTER = "198.51.100.9"
SOURCE, DESTINATION = ("192.0.2.77", 4000), ("203.0.113.77", 443)
HEADER = proxy_v2.build(SOURCE, DESTINATION)
HELLO = client_hello.build("a.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

#: A configuration with which every phase waits: for a PROXY header, for first bytes, and for the backend.
ALL_PHASES = {
    "proxyIPs": [OUTER],
    "proxyHeaderTimeout": "5s",
    "initialDataTimeout": "60s",
    "routes": [route(match={"domains": ["a.example"]})],
}
