"""Which handlers of a program answer HTTP requests, and which get a connection.

A handler answers requests, each by itself, if it is

- what :func:`~smartproxy.http.local.fixed.http_respond` or :func:`~smartproxy.http.local.redirect.http_redirect` gives;
- a ``twisted.web.resource.IResource``, a class of them, or another callable without parameters, which gives one;
- a coroutine function whose first parameter is called ``exchange``, or is annotated with ``Exchange``; or any coroutine
  function on a route with ``protocol: http``.

Every other one gets a connection: :mod:`smartproxy.phases.serve`.
"""

from __future__ import annotations

import sys
from inspect import isclass
from typing import Any, Final

from smartproxy.flow.signatures import first_positional, is_coroutine_function, parameters, serves
from smartproxy.http.local.served_exchange import ServedExchange
from smartproxy.http.local.services import LocalAnswers

_WEB: Final = "twisted.web.resource"
_NAMES: Final = frozenset({"Exchange", "smartproxy.Exchange", "ServedExchange"})


def answers_of(handler: Any, *, speaks_http: bool = False) -> LocalAnswers | None:
    """What answers requests by ``handler``; ``None`` where it gets a connection.

    :param speaks_http: whether its route says ``protocol: http``.
    """
    if isinstance(handler, LocalAnswers):
        return handler
    if _gives_resource(handler):
        from smartproxy.http.local.resource import ResourceAnswers  # noqa: PLC0415 - twisted.web is a large import

        return ResourceAnswers(handler)
    if is_coroutine_function(handler) and (speaks_http or _takes_exchange(handler)):
        from smartproxy.http.local.handler import HandlerAnswers  # noqa: PLC0415 - it needs the half of Twisted, a configuration does not

        return HandlerAnswers(handler)
    return None


def _gives_resource(handler: Any) -> bool:
    """Whether it is a resource or a class of them, or can be called without arguments and with none."""
    if _is_resource(handler):
        return True
    if isclass(handler) or serves(handler):
        return False
    return parameters(handler) == []


def _is_resource(handler: Any) -> bool:
    web: Any = sys.modules.get(_WEB)
    if web is None:  # then nothing of it can be there
        return False
    interface = web.IResource
    return bool(interface.implementedBy(handler) if isclass(handler) else interface.providedBy(handler))


def _takes_exchange(handler: Any) -> bool:
    first = first_positional(handler)
    if first is None:
        return False
    annotation = first.annotation
    named = annotation.strip("'\"") if isinstance(annotation, str) else ""
    return first.name == "exchange" or annotation is ServedExchange or named in _NAMES
