"""What answers the HTTP requests of a route in this process: made from the keys of its action."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from smartproxy.http.local.blocked import BlockAnswers
from smartproxy.http.local.fixed import FixedAnswers
from smartproxy.http.local.redirect import RedirectAnswers
from smartproxy.http.local.static import StaticAnswers
from smartproxy.settings.compile.handlers import answers_by_handler, body_of, is_http_response
from smartproxy.wire.http_response import CONTENTLESS

if TYPE_CHECKING:
    from smartproxy.http.local.services import LocalAnswers
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.tables.route import Action, ResponseSettings, Route

_OK: Final = 200


def answers_to(route: Route, references: References) -> LocalAnswers | None:
    """What answers the requests of ``route``; ``None`` where they are forwarded, or its connections are served."""
    action = route.action
    if action.type == "redirect" and action.to is not None:
        return RedirectAnswers(action.to, action.status, route.match.path)
    if action.type == "static" and action.root is not None:
        return StaticAnswers(
            root_of(action.root, references), action.index, spa=action.spa, precompressed=action.precompressed
        )
    if action.type == "block":
        return BlockAnswers(action.mode)
    if action.response is not None and is_http_response(action):
        return _responder(action.response)
    return answers_by_handler(action, references.handlers)


def root_of(root: str, references: References) -> str:
    """The directory of the files of a route."""
    return str(Path(references.path_of(root)).absolute())


def may_answer(action: Action) -> bool:
    """Whether requests are answered in this process whatever its handler is."""
    return action.type in {"redirect", "static"} or is_http_response(action)


def _responder(response: ResponseSettings) -> FixedAnswers:
    status = _OK if response.status is None else response.status
    headers = {} if status in CONTENTLESS else {"Content-Type": response.content_type}
    return FixedAnswers(body_of(response), status, headers)
