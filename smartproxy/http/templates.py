"""Text with variables of a request, such as ``{client.ip}:{client.port}`` or ``/v2/{id}``.

::

    template = compiled("{scheme}://{host}/users/{id}", path="/u/:id")      # when a configuration is loaded
    template(exchange)                                                      # "https://a.example/users/7"

============================  =================================================================================
``{client.ip}``               the client's address: that of the connection, or of its PROXY header; of no header field
``{client.port}``             its port
``{host}``                    the host of the request: lower case, without port; an IPv6 address is in brackets
``{path}``                    the path as received, without the query
``{query}``                   the query as received with its ``?``; empty where there is none
``{scheme}``                  ``https`` where TLS was terminated, else ``http``
``{route}``                   the name of the route
``{tls.version}``             like ``TLSv1.3``; empty without TLS
``{tls.clientCertificate}``   of a client certificate that was verified: the common name, or else the first other name, or
                              else the fingerprint; empty without one
``{id}``                      the id of the request
``{NAME}``                    what ``:NAME`` stands for in ``match.path``, as received
============================  =================================================================================

A name in ``match.path`` hides ``{id}`` only, and not in ``defaults``. A text of a route with another variable whose name is also one in
its path is refused: its author has taken the one for the other. What is built on ``{host}`` and ``{path}`` must not become what
the client chooses.

``{{path}}`` is the text ``{path}``. A brace that no letter follows stands for itself, so JSON can be written as it is.

No value has a control character: a line break in it would begin another header field. Those of a request have none because
:mod:`smartproxy.wire.http_head` refuses them, nothing is decoded, and in those of a certificate they are replaced.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from smartproxy.http.tracing import id_of
from smartproxy.routing import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smartproxy.model.exchange import Exchange

    Value: TypeAlias = Callable[[Exchange], str]

_PIECE: Final = re.compile(r"\{\{([A-Za-z_][^{}]*)\}\}|\{([A-Za-z_][^{}]*)\}|(\{[A-Za-z_])")
#: The variable that a name in a path may hide: ``/users/:id`` is a usual path, and neither of the two is an address.
_HIDDEN: Final = "id"
#: Controls and line separators; and blanks at the ends, which a recipient of a header field drops, so that " admin" would be "admin".
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|\A\s+|\s+\Z")


class Template:
    """A text with variables, compiled.

    :ivar text: as written.
    :ivar variables: the names in it.
    """

    __slots__ = ("_parts", "text", "variables")

    def __init__(self, text: str, variables: frozenset[str], parts: tuple[str | Value, ...]) -> None:
        self.text = text
        self.variables = variables
        self._parts = parts

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def __call__(self, exchange: Exchange) -> str:
        """The text for a request."""
        return "".join([part if isinstance(part, str) else part(exchange) for part in self._parts])

    @property
    def constant(self) -> str | None:
        """The text that it is for every request; ``None`` where it depends on the request."""
        return None if self.variables else "".join(map(str, self._parts))


def compiled(
    text: str,
    path: str | None = None,
    escape: Callable[[str], str] | None = None,
    instead: Mapping[str, Value] = MappingProxyType({}),
    *,
    is_shared: bool = False,
) -> Template:
    """Compile ``text``.

    :param path: the pattern of the route's path, whose names are variables, too.
    :param escape: applied to the value of each variable, and not to what is written.
    :param instead: gives the values of these variables in place of the usual ones, or beside them.
    :param is_shared: whether the text is for several routes: then a name in the path of one does not hide a variable.
    :raises ValueError: where a variable is unknown; the message names the nearest. And where it may be confused with a name in the path.
    """
    names = set() if path is None else set(paths.names(path))
    parts: list[str | Value] = []
    variables: set[str] = set()
    for literal, name in _pieces(text):
        if literal:
            parts.append(literal)
        if name is not None:
            variables.add(name)
            value = _value(name, path, names - VALUES.keys() if is_shared else names, instead)
            parts.append(escaped(value, escape))
    return Template(text, frozenset(variables), tuple(parts))


def variables(path: str | None = None) -> list[str]:
    """The names that a template may have on a route with this pattern of a path."""
    return [*VALUES, *(() if path is None else paths.names(path))]


def captured(exchange: Exchange) -> Mapping[str, str]:
    """What the names in the path of the route's ``match`` stand for, as received."""
    params = exchange.params
    if params is None:
        pattern = exchange.routed.route.match.path
        params = exchange.params = {} if pattern is None else paths.capture(pattern)(exchange.head.path)
    return params


def segment(name: str) -> Value:
    """What ``:NAME`` in ``match.path`` stands for, as received."""
    return lambda exchange: captured(exchange).get(name, "")


def bracketed(host: str | None) -> str:
    """The host as it is written in a URL."""
    return f"[{host}]" if host and ":" in host else host or ""


def without_controls(text: str) -> str:
    """``text`` on one line: with ``?`` in place of controls, and of blanks at its ends."""
    return _UNSAFE.sub("?", text)


def query_of(exchange: Exchange) -> str:
    """The query with its ``?``, or ``""``."""
    _, mark, query = exchange.head.target.partition("?")
    return mark + query


def escaped(value: Value, escape: Callable[[str], str] | None) -> Value:
    """The same value, escaped."""
    return value if escape is None else lambda exchange: escape(value(exchange))


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Pairs of literal text and the variable behind it."""
    at = 0
    for found in _PIECE.finditer(text):
        literal, (quoted, name, unclosed) = text[at : found.start()], found.groups()
        if unclosed is not None:
            raise ValueError(f"has {{ without }}: {text[found.start() :]}")
        yield (literal, name) if quoted is None else (f"{literal}{{{quoted}}}", None)
        at = found.end()
    yield text[at:], None


def _value(name: str, path: str | None, names: set[str], instead: Mapping[str, Value]) -> Value:
    """What gives the value of a variable."""
    if name in names:
        if name in VALUES and name != _HIDDEN:
            raise ValueError(f"has {{{name}}}, which is also a name in match.path: rename :{name} there")
        return segment(name)
    if name in instead:
        return instead[name]
    if name not in VALUES:
        raise ValueError(f"has no such variable: {{{name}}}; {_meant(name, variables(path))}")
    return VALUES[name]


def _meant(name: str, known: list[str]) -> str:
    folded = {each.lower(): each for each in known}
    nearest = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    if nearest:
        return f"did you mean {{{folded[nearest[0]]}}}?"
    return "the variables are " + ", ".join(f"{{{each}}}" for each in known)


def _certificate(exchange: Exchange) -> str:
    """A name that nobody vouches for could be anyone's, so one of a certificate that was not verified is not given."""
    secured = exchange.routed.detected.secured
    if secured is None or not secured.verified or not secured.client:
        return ""
    return without_controls(secured.client)


def _tls_version(exchange: Exchange) -> str:
    secured = exchange.routed.detected.secured
    return "" if secured is None else secured.version


#: What gives the value of each variable.
VALUES: Final[dict[str, Value]] = {
    "client.ip": lambda exchange: exchange.routed.detected.announced.client.host,
    "client.port": lambda exchange: str(exchange.routed.detected.announced.client.port),
    "host": lambda exchange: bracketed(exchange.head.host),
    "path": lambda exchange: exchange.head.path,
    "query": query_of,
    "scheme": lambda exchange: "http" if exchange.routed.detected.secured is None else "https",
    "route": lambda exchange: exchange.routed.route.name,
    "tls.version": _tls_version,
    "tls.clientCertificate": _certificate,
    "id": id_of,
}
