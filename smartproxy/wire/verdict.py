"""What a parser says of the bytes that it was shown.

Three answers, and a caller must treat all three::

    match proxy_v1.parse(held):
        case Done(header, consumed): ...
        case NeedMore(at_least): ...    # wait until len(held) >= at_least, then ask again
        case Malformed(why): ...        # more bytes cannot mend it

They are named tuples rather than exceptions: "not yet" is the ordinary answer to bytes that trickle in.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeAlias, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Done(NamedTuple, Generic[T_co]):
    """The value is complete; it took the first ``consumed`` bytes."""

    value: T_co
    consumed: int


class NeedMore(NamedTuple):
    """Nothing is wrong yet. Asking again is useless below ``at_least`` bytes in total."""

    at_least: int


class Malformed(NamedTuple):
    """No further byte can make this right. ``why`` is for a log line: plain ASCII, no client bytes."""

    why: str


Verdict: TypeAlias = Done[T_co] | NeedMore | Malformed
