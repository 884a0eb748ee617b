"""Redirects (``type: redirect``).

A redirect repeats parts of the request (:mod:`smartproxy.http.templates`). Characters that a URL cannot have are
percent-encoded (RFC 3986, 2.1). A template fixes the host of the redirect, or uses that of the request, before any other part
of the request, so that no request can make it an open redirect: a name in ``match.path`` cannot hide ``{host}``, ``{path}`` and
``{query}``. Where it begins with ``{path}``, that begins with one slash only: ``//other.example/`` would be another host
(RFC 3986, 4.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from smartproxy.http.local.answering import LocalAnswerer
from smartproxy.http.local.services import LocalAnswers
from smartproxy.http.templates import compiled, query_of
from smartproxy.wire.http_fields import Fields

if TYPE_CHECKING:
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

#: The statuses with a Location (RFC 9110, 15.4).
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

#: Either the authority is literal or ``{host}``, and ends before any other part of the request; or the redirect is a
#: path on the same host, which must not begin like a reference to another one.
_TEMPLATE: Final = re.compile(
    r"(?:https?://(?:\{host\}|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=/|\?|\{path\}|\{query\}|\Z)"
    r"|/(?![/\\{])|(?=\{path\}))"
    r"(?:[!-z|~]|\{[A-Za-z_][A-Za-z0-9_.]*\})*"
)
#: Characters allowed in a path and a query (RFC 3986, 3.3 and 3.4). "%" is kept: it begins an existing escape.
_SAFE: Final = "/?:@!$&'()*+,;=-._~%"
_ADDRESS: Final = re.compile(r"\[[0-9a-f:.]+\]")
_BAD_REQUEST: Final = 400


class RedirectAnswers(LocalAnswers):
    """Redirects every request.

    :param to: a URL with variables.
    :param path: the pattern of the route's path, whose names are variables, too.
    :raises ValueError: for another status, a template that is not safe (:func:`is_template`), and an unknown variable or one
        that is also a name in ``path``.
    """

    def __init__(self, to: str, status: int = 308, path: str | None = None) -> None:
        if not is_template(to):
            raise ValueError(f"not a template for a redirect: {to!r}")
        if status not in REDIRECTS:
            raise ValueError(f"status must be one of {sorted(REDIRECTS)} (got {status!r})")
        self.to = to
        self.status = status
        self._template = compiled(to, path, _escaped)
        self._needs_host = "host" in self._template.variables

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _RedirectAnswerer(self, exchange, client, services)

    def location(self, exchange: Exchange) -> str | None:
        """Where a request is redirected to; ``None`` where it has no path (``OPTIONS *``), or no Host that is needed."""
        head = exchange.head
        if not head.path.startswith("/") or (self._needs_host and head.host is None):
            return None
        where = self._template(exchange)
        return "/" + where.lstrip("/") if where.startswith("//") else where


class _RedirectAnswerer(LocalAnswerer):
    """Redirects one request."""

    def __init__(
        self, terms: RedirectAnswers, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self._terms = terms

    def respond(self) -> None:
        """Send the Location."""
        where = self._terms.location(self.exchange)
        if where is None:
            self.fail(_BAD_REQUEST, "the redirect needs a path and a Host")
        else:
            self.answer_whole(self._terms.status, Fields.of([("Location", where)]))


def http_redirect(to: str, status: int = 308) -> RedirectAnswers:
    """A handler that redirects every HTTP request.

    :param to: a URL with variables such as ``{host}``, ``{path}`` and ``{query}`` (with its ``?``), as in
        ``https://{host}{path}{query}``.
    :param status: 301, 302, 303, 307 or 308.
    :raises ValueError: for another status, a template that is not safe, and an unknown variable.
    """
    return RedirectAnswers(to, status)


def is_template(to: str) -> bool:
    """Whether a redirect from this template leads to the hosts that its author intends, whatever the request is."""
    return _TEMPLATE.fullmatch(to) is not None


def location_of_directory(exchange: Exchange) -> str:
    """The same path with a slash behind it, and one before it: with two it would be another host."""
    return f"/{_escaped(exchange.head.path.lstrip('/'))}/{_escaped(query_of(exchange))}"


def _escaped(text: str) -> str:
    return text if _ADDRESS.fullmatch(text) else quote(text, safe=_SAFE)
