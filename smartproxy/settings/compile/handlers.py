"""What serves the connections of a route in this process: its handler, or one made from the keys of its action."""

from __future__ import annotations

from base64 import b64decode
from inspect import isclass, signature
from typing import TYPE_CHECKING, ParamSpec, cast

from smartproxy.http.local.handlers import answers_of
from smartproxy.serving.ready import block, respond
from smartproxy.settings.compile.handler_modules import import_module_beside
from smartproxy.settings.tables.rules import is_handler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from smartproxy.http.local.services import LocalAnswers
    from smartproxy.model.plan import Handler
    from smartproxy.settings.tables.route import Action, ResponseSettings

ParametersT = ParamSpec("ParametersT")


class Handlers:
    """The handlers that one configuration names; each module is imported once.

    :param directory: where their modules are looked for first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._modules: dict[str, ModuleType] = {}

    def resolve(self, reference: str | Handler) -> Handler:
        """The handler that ``package.module:callable`` names, or the handler itself.

        :raises ValueError: where it cannot be imported, or is not a handler.
        """
        if not isinstance(reference, str):
            return reference
        found = self._imported(reference)
        if isclass(found) and hasattr(found, "buildProtocol"):
            raise ValueError("is a protocol factory class; name an instance of it")
        if not is_handler(found):
            raise ValueError("is not a handler: neither a callable nor a protocol factory")
        return found

    def resolve_callable(
        self, reference: str | Callable[ParametersT, object], *arguments: str
    ) -> Callable[ParametersT, object]:
        """The callable that ``package.module:callable`` names, or the callable itself.

        :param arguments: names of what it is called with.
        :raises ValueError: where it cannot be imported, or cannot be called so.
        """
        found = self._imported(reference) if isinstance(reference, str) else reference
        if isclass(found) or not callable(found):
            raise ValueError("is not a function or another callable object")
        try:
            signature(found).bind(*arguments)
        except TypeError:
            count = f"{len(arguments)} argument{'s' if len(arguments) > 1 else ''}"
            raise ValueError(f"must take {count}: {', '.join(arguments)}") from None
        except ValueError:  # one of C, whose parameters are unknown
            pass
        return cast("Callable[ParametersT, object]", found)

    def _imported(self, reference: str) -> object:
        module, _, names = reference.partition(":")
        try:
            found: object = self._module(module)
            for name in names.split("."):
                found = getattr(found, name)
        except Exception as problem:  # importing runs the module, which may raise anything
            why = f"{type(problem).__name__}: {problem}"
            raise ValueError(f"cannot be imported from {self._directory} or sys.path: {why}") from None
        return found

    def _module(self, name: str) -> ModuleType:
        # Thousands of routes may have handlers of one module, and an import looks at all modules of the process.
        if name not in self._modules:
            self._modules[name] = import_module_beside(self._directory, name)
        return self._modules[name]


def handler_of(action: Action, handlers: Handlers) -> Handler | None:
    """What serves the connections of ``action`` in this process.

    ``None`` where they are forwarded or closed at once, or have requests, which :mod:`~smartproxy.settings.compile.answers` is for.
    """
    if action.handler is not None:
        return None if answers_by_handler(action, handlers) is not None else handlers.resolve(action.handler)
    if action.response is not None and not is_http_response(action):
        return respond(body_of(action.response))
    return block(action.mode) if action.mode != "close" else None


def answers_by_handler(action: Action, handlers: Handlers) -> LocalAnswers | None:
    """What answers requests by the handler of ``action``; ``None`` where it has none, or one that gets a connection.

    :raises ValueError: as :meth:`Handlers.resolve`.
    """
    if action.handler is None:
        return None
    return answers_of(handlers.resolve(action.handler), speaks_http=action.protocol == "http")


def is_http_response(action: Action) -> bool:
    """Whether the response of ``action`` is one of HTTP, and not bytes."""
    return action.response is not None and (action.response.status is not None or action.protocol == "http")


def body_of(response: ResponseSettings) -> bytes:
    """The bytes of a response."""
    return b64decode(response.base64) if response.base64 is not None else (response.body or "").encode()
