"""What a program's callable says of itself. Nothing of Twisted is imported here: a configuration is read without it."""

from __future__ import annotations

from inspect import Parameter, isclass, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_POSITIONAL: Final = frozenset({Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD})


def is_coroutine_function(value: object) -> bool:
    """Whether calling ``value`` gives a coroutine. Calling a class gives an instance, which may be such a function."""
    if isclass(value):
        return False
    return iscoroutinefunction(value) or iscoroutinefunction(getattr(value, "__call__", None))  # noqa: B004 - it is asked what it is, not whether it is there


def serves(handler: Any) -> bool:
    """Whether ``handler`` can serve a connection or a request itself; any other callable must be called for one that can."""
    return hasattr(handler, "buildProtocol") or is_coroutine_function(handler)


def parameters(value: Any) -> Sequence[Parameter] | None:
    """The parameters of a callable; ``None`` where it does not tell them."""
    try:
        return list(signature(value).parameters.values())
    except (TypeError, ValueError):
        return None


def first_positional(value: Any) -> Parameter | None:
    """The first parameter of a callable, where it can be given by its position."""
    first = next(iter(parameters(value) or ()), None)
    return first if first is not None and first.kind in _POSITIONAL else None
