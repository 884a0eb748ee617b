"""Another path, and another Host, for the requests of a route (``action.rewrite``).

The path is not decoded: what is kept of it, and what a name of ``match.path`` stands for, is sent as it was received. The query is
kept. What is sent is in origin form (RFC 9112, 3.2.1), whatever form was received.

A request whose new path has a segment ``..``, written in any way, is refused: a target that resolves it would leave the part of
its paths that the route leads to.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from smartproxy.http.templates import VALUES, compiled, escaped, query_of, segment
from smartproxy.routing import paths

if TYPE_CHECKING:
    from smartproxy.http.templates import Template
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan.http import TargetRewriter
    from smartproxy.upstream.connected import Connected

#: A name where a segment begins, as in ``match.path``.
_NAMED: Final = re.compile(r"(?<=/):([A-Za-z_][A-Za-z0-9_]*)")
#: Begins the variable that ``:name`` is made into. No other variable begins so.
_SEGMENT: Final = "_:"
_NOT_IN_A_PATH: Final = re.compile(r"[^!-~]|[?#*\\]")
#: A segment ``..`` between slashes, as they are and encoded. Some servers cut a segment at ``;``.
_PARENT: Final = re.compile(r"(?:[/\\]|%2f|%5c)(?:\.|%2e){2}(?=[/\\;]|%2f|%5c|%3b|\Z)", re.IGNORECASE)
#: What a value of the proxy may have in a segment (RFC 3986, 3.3); anything else is percent-encoded.
_IN_A_SEGMENT: Final = "!$&'()*+,;=:@-._~"
_HOST: Final = re.compile(rb"^host:[^\n]*+\n", re.IGNORECASE | re.MULTILINE)


def target_rewriter(
    path: str | None, strip_prefix: str, pattern: str | None, *, is_shared: bool = False
) -> TargetRewriter | None:
    """What makes the target of a request that is sent on; ``None`` where it stays as it is.

    :param path: the new path, with variables.
    :param strip_prefix: removed where a path begins with its segments.
    :param pattern: that of the route's ``match.path``.
    :param is_shared: whether ``path`` is for several routes.
    :raises ValueError: where ``path`` is malformed, or :func:`~smartproxy.http.templates.compiled` refuses a variable.
    """
    prefix = strip_prefix.rstrip("/")
    if path is not None:
        return partial(_rewritten, _path_template(path, prefix, pattern, is_shared=is_shared))
    return partial(_rewritten, partial(_stripped, prefix)) if prefix else None


def rehosted(lines: bytes, host: str, linked: Connected) -> bytes:
    """The fields of a request with another Host.

    :param host: of :class:`~smartproxy.model.plan.RewritePlan`.
    """
    if host == "preserve":
        return lines
    name = linked.authority if host == "target" else host
    return b"Host: %b\r\n%b" % (name.encode("ascii", "replace"), _HOST.sub(b"", lines))


def _rewritten(path_of: Template | partial[str], exchange: Exchange) -> str:
    """The target that is sent; empty for one that is refused."""
    if exchange.head.target == "*":
        return "*"
    path = path_of(exchange)
    return "" if _PARENT.search(path) else path + query_of(exchange)


def _stripped(prefix: str, exchange: Exchange) -> str:
    """The path without ``prefix``, which ends where a segment does."""
    path = exchange.head.path
    if not prefix or not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in ("", "/"):
        return path
    return path[len(prefix) :] or "/"


def _path_template(path: str, prefix: str, pattern: str | None, *, is_shared: bool) -> Template:
    """``path`` compiled, in which ``{path}`` is the path without ``prefix``, and ``:path`` the segment of that name."""
    if not path.startswith("/"):
        raise ValueError("must begin with /")
    if "{query}" in path:
        raise ValueError("must not have {query}: the query is kept as it is")
    if "*" in path:
        raise ValueError("must not have *; {path} is the path that was received, without stripPrefix")
    if _NOT_IN_A_PATH.search(path):
        raise ValueError("must be a path without blanks, query and fragment")
    names = () if pattern is None else paths.names(pattern)

    def braced(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise ValueError(f"has :{found[1]}, which is not a name in match.path")
        return f"{{{_SEGMENT}{found[1]}}}"

    quoted = partial(quote, safe=_IN_A_SEGMENT)
    values = {name: escaped(value, quoted) for name, value in VALUES.items()}
    values["path"] = partial(_stripped, prefix)
    values |= {f"{_SEGMENT}{name}": segment(name) for name in names}
    return compiled(_NAMED.sub(braced, path), pattern, instead=values, is_shared=is_shared)
