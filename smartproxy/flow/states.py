"""State machines as tables, for objects that are too hot for a framework: states, events, and one look-up.

The pattern is h11's (``h11/_state.py``): states and events are enums, and a table at the head of the module that
owns them gives for each state the events that are legal in it and the state that follows. What is not in the table
raises. The owner keeps its state in an attribute and changes it with :func:`following`::

    _OUTPUT = {Output.OPEN: {Event.ENDED: Output.CLOSED}, Output.CLOSED: {}}

    self.output = following(_OUTPUT, self.output, Event.ENDED)

Code that runs for each chunk compares states by identity, with members bound to module-level names: attribute
access on an enum class costs more than the comparison.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from smartproxy.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound="State")
E = TypeVar("E", bound="State")
#: For each state the events that are legal in it, each with the state that follows.
Table: TypeAlias = "Mapping[S, Mapping[E, S]]"


class State(Enum):
    """Base of states and events. Members are singletons, so they are hashed by identity: Enum's own hash is Python code."""

    __hash__ = object.__hash__


def following(table: Table[S, E], state: S, event: E) -> S:
    """The state that follows ``state`` on ``event``.

    :raises IllegalTransition: where the table has none.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransition(f"{event} is not allowed in {state}") from None
