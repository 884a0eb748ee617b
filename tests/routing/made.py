"""Builders of routes and facts for tests: a test gives only the values that matter to it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.model.plan import MatchPlan, RoutePlan
from smartproxy.wire.client_hello import ClientHello
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_head import RequestHead

if TYPE_CHECKING:
    from collections.abc import Iterable

PORTS = (range(443, 444),)


def route(name: str, index: int = 0, *, priority: int = 0, **asks) -> RoutePlan:
    asks.setdefault("ports", PORTS)
    return RoutePlan(name, index, MatchPlan(**asks), priority=priority)


def routes(**named) -> list[RoutePlan]:
    """In the order given: ``routes(web={"domains": ("a.example",)}, rest={})``."""
    numbers = count()
    return [route(name, next(numbers), **asks) for name, asks in named.items()]


def raw(*, client: str = "192.0.2.1", port: int = 443, address: str = "") -> Detected:
    peer = Endpoint(client, 50000)
    return Detected(Announced(Accepted(f"{address}:{port}", port, peer, 0.0), peer))


def tls(name: str | None = None, alpn: tuple[str, ...] = (), **where) -> Detected:
    hello = ClientHello(server_name=name, alpn=alpn)
    return raw(**where)._replace(protocol=ApplicationProtocol.TLS, hello=hello)


def http(
    path: str = "/",
    *,
    host: str | None = None,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    **where,
) -> Detected:
    head = RequestHead(method, path, path.partition("?")[0], host, fields=Fields.of(headers))
    return raw(**where)._replace(protocol=ApplicationProtocol.HTTP, request=head)
