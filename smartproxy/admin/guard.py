"""Authorises requests to the admin listener.

With a token configured, a request needs ``Authorization: Bearer TOKEN`` (RFC 6750, 2.1); the comparison takes constant
time. A listener that is not on loopback must have a token.

Without a token, everyone who can reach the listener is authorised: it is on loopback, or a unix socket with the permissions
of the file system. But a web page in a browser on the same machine can reach loopback, too, in two ways. Both are refused:

* DNS rebinding: the page's own host name is made to resolve to 127.0.0.1, and the browser treats the replies as those of
  the page's origin. Such a request has the host name of the page in ``Host``.
* Cross-site requests: a form may POST to http://127.0.0.1:8404 without a preflight. Such a request has an ``Origin``
  (RFC 6454, 7) that differs from its ``Host``.

A page cannot know the token, so a request with the token skips both checks: a scraper may use any name of the listener.
The health checks reveal nothing and are used by load balancers, so they need no token.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smartproxy.admin.request import refusal
from smartproxy.errors import ConfigurationError
from smartproxy.wire.host import is_loopback

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

    from smartproxy.admin.request import AdminRequest, Reply
    from smartproxy.model.plan import AdminPlan

PROBES = frozenset({"/healthz", "/readyz"})
_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="smartproxy admin"'),)

#: RFC 6750, 3.1.
_WRONG = (("WWW-Authenticate", 'Bearer realm="smartproxy admin", error="invalid_token"'),)


class Guard:
    """Authorises a request, or gives the reply that refuses it.

    :raises ConfigurationError: if the listener is not on loopback and has no token.
    """

    def __init__(self, plan: AdminPlan) -> None:
        if plan.unix is None and not plan.token and not is_loopback(plan.address):
            raise ConfigurationError(["admin.token: is required where admin.address is not loopback"])
        self._token = plan.token.encode() if plan.token else None
        self._browsers_reach_it = plan.unix is None

    def refusal(self, request: AdminRequest) -> Reply | None:
        """Return the reply that refuses ``request``; ``None`` if it is authorised."""
        if self._token is not None:
            return self._check_token(request)
        if self._browsers_reach_it:
            return _check_origin(request.headers)
        return None

    def _check_token(self, request: AdminRequest) -> Reply | None:
        given = (request.headers.getRawHeaders(b"Authorization") or [b""])[0]
        if request.path in PROBES or compare_digest(_bearer(given), self._token or b""):
            return None
        if not given:
            return refusal(401, "a token is required: Authorization: Bearer TOKEN", _CHALLENGE)
        if not _bearer(given):
            return refusal(401, "the token must be sent as Authorization: Bearer TOKEN", _CHALLENGE)
        return refusal(401, "the token is wrong: it must be admin.token of the configuration", _WRONG)


def _bearer(given: bytes) -> bytes:
    scheme, _, token = given.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _check_origin(headers: Headers) -> Reply | None:
    """Refuse a request that may come from a web page. A page cannot set ``Host`` and ``Origin``; the browser does."""
    hosts = headers.getRawHeaders(b"Host") or []
    if not all(is_loopback(_host_of(f"//{_text(host)}")) for host in hosts):
        return refusal(403, "Host is not a name of this listener")
    origins = headers.getRawHeaders(b"Origin") or []
    if any(_text(origin).partition("://")[2] != _text(host) for origin in origins for host in hosts):
        return refusal(403, "cross-site requests are refused")
    return None


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
