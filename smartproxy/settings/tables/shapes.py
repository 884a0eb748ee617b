"""Keys with several shapes, such as a flag or a mapping.

A discriminator looks at the shape of a value first, so that the message is that of the shape that was meant. Its tags are in angle
brackets, which tells them from keys in the paths of pydantic's errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isclass

from pydantic import BaseModel, Discriminator


def shaped(shape_of: Callable[[object], str | None], message: str) -> Discriminator:
    """A choice between the tagged shapes of a key; ``message`` where the value has none of them."""
    return Discriminator(shape_of, custom_error_type="shape", custom_error_message=message)


def one_or_list(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


def flag_or_table(value: object) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<flag>" if isinstance(value, bool) else None


def string_or_table(value: object) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<string>" if isinstance(value, str) else None


def target_shape(value: object) -> str:
    """A class is callable, but what it makes is no target: it gets the message for a table."""
    return "<callable>" if callable(value) and not isclass(value) else "<table>"


def callable_shape(value: object) -> str:
    return "<callable>" if callable(value) else "<name>"


def host_shape(value: object) -> str | None:
    if callable(value):
        return "<callable>"
    return one_or_list(value) if isinstance(value, str | list | tuple) else None
