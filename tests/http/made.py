"""An exchange as the templates and rules of a route see it: a test gives only what matters to it."""

from __future__ import annotations

from smartproxy.http.terms import request_terms
from smartproxy.metrics.requests import RequestCounters
from smartproxy.model.address import Endpoint
from smartproxy.model.exchange import Exchange
from smartproxy.model.facts import Accepted, Routed, TlsFacts
from smartproxy.model.record import ConnectionRecord
from tests.routing.made import http, route

ACCEPTED = Accepted(":80", 80, Endpoint("192.0.2.1", 50000), 0.0)


def exchange(target="/", *, host="a.test", pattern=None, headers=(), secured=None, client="192.0.2.1"):
    detected = http(target.partition("?")[0], host=host, headers=headers, client=client)._replace(
        secured=secured
    )
    head = detected.request._replace(target=target)
    routed = Routed(detected._replace(request=head), route("web", path=pattern))
    terms = request_terms(head)
    made = Exchange(ConnectionRecord(1, ACCEPTED), head, terms, terms.framing, routed, 0.0, 0)
    made.requests = RequestCounters()  # it has a route
    return made


def certified(name, *, verified=True):
    """A client with TLS whose certificate has this name."""
    return TlsFacts("TLSv1.3", "", None, client=name, common_name=name, verified=verified)
