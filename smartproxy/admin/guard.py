"""Who may speak to the admin listener.

With a token, whoever presents it: ``Authorization: Bearer TOKEN`` (RFC 6750, 2.1), compared in constant
time. Off loopback there is no listener without one.

Without a token, whoever can reach the listener: it is on loopback, or a unix socket that the file system
guards. Reaching loopback is also within the power of any web page that is open in a browser on this machine,
in two ways, and both are closed here:

* DNS rebinding: the page's own name is made to point at 127.0.0.1, and the browser takes our answers for the
  page's own. Such a request carries the page's name in ``Host``, which is none of ours.
* Cross-site requests: a form may POST to http://127.0.0.1:8404 without asking. Such a request carries an
  ``Origin`` (RFC 6454, 7) other than the ``Host`` that it goes to.

A page cannot know the token, so a request that carries it needs neither test: a scraper may use any name
that leads here. Health and readiness tell nothing and are asked by load balancers: they need no token.
"""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smartproxy.admin.request import refusal
from smartproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

    from smartproxy.admin.request import AdminRequest, Reply
    from smartproxy.model.plan import AdminPlan

PROBES = frozenset({"/healthz", "/readyz"})
_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="smartproxy admin"'),)


class Guard:
    """Admits a request, or says why not.

    :raises ConfigurationError: for a listener that others could reach and that has no token.
    """

    def __init__(self, plan: AdminPlan) -> None:
        if plan.unix is None and not plan.token and not _is_loopback(plan.address):
            raise ConfigurationError(["admin.token: is required where admin.address is not loopback"])
        self._token = plan.token.encode() if plan.token else None
        self._browsers_reach_it = plan.unix is None

    def refusal(self, asked: AdminRequest) -> Reply | None:
        """``None`` for a request that may go on."""
        if self._token is not None:
            return self._without_token(asked)
        if self._browsers_reach_it:
            return _from_a_page(asked.headers)
        return None

    def _without_token(self, asked: AdminRequest) -> Reply | None:
        if asked.path in PROBES or compare_digest(_bearer(asked.headers), self._token or b""):
            return None
        return refusal(401, "a token is required: Authorization: Bearer TOKEN", _CHALLENGE)


def _bearer(headers: Headers) -> bytes:
    given = headers.getRawHeaders(b"Authorization") or [b""]
    scheme, _, token = given[0].partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _from_a_page(headers: Headers) -> Reply | None:
    """A refusal, where the request may come from a web page. Only browsers must send ``Host`` truthfully."""
    hosts = headers.getRawHeaders(b"Host") or []
    if not all(_is_loopback(_host_of(f"//{_text(host)}")) for host in hosts):
        return refusal(403, "Host is not a name of this listener")
    origins = headers.getRawHeaders(b"Origin") or []
    if any(_text(origin).partition("://")[2] != _text(host) for origin in origins for host in hosts):
        return refusal(403, "requests of other sites are not taken")
    return None


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
