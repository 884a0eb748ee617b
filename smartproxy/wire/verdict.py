"""The result of a parser: done, more bytes needed, or malformed.

A caller must handle all three::

    match proxy_v1.parse(held):
        case Done(header, consumed): ...
        case NeedMore(at_least): ...    # wait until len(held) >= at_least, then parse again
        case Malformed(why): ...        # no further byte can make it valid

They are named tuples and not exceptions, because ``NeedMore`` is the normal result while bytes arrive in pieces.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeAlias, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Done(NamedTuple, Generic[T_co]):
    """A complete value, parsed from the first ``consumed`` bytes."""

    value: T_co
    consumed: int


class NeedMore(NamedTuple):
    """Valid so far. To parse again is useless with fewer than ``at_least`` bytes in total."""

    at_least: int


class Malformed(NamedTuple):
    """No further byte can make this valid. ``why`` is for a log line: plain ASCII that contains no received bytes."""

    why: str


Verdict: TypeAlias = Done[T_co] | NeedMore | Malformed
