"""``package.module:callable``: the Python object that such a text names."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass
from typing import Any

from smartproxy.settings.tables.types import is_handler


def resolved(reference: object) -> Any:
    """The object behind a handler: what the text names, or the object itself.

    :raises ValueError: where it cannot be imported, or a connection cannot be given to it.
    """
    if not isinstance(reference, str):
        return reference
    module, _, names = reference.partition(":")
    try:
        found: Any = import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as problem:  # a module that is imported runs, and may raise what it likes
        raise ValueError(f"cannot be imported: {type(problem).__name__}: {problem}") from None
    if isclass(found) and hasattr(found, "buildProtocol"):
        raise ValueError("names a class of factories; name one that has been made")
    if not is_handler(found):
        raise ValueError("names nothing that a connection can be given to: neither a callable nor a factory")
    return found
