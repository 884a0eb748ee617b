"""Asking for a resource again and again until it has settled (RFC 8555, 7.5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.task import deferLater

from smartproxy.errors import AcmeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

#: Seconds between the first two requests. The pause doubles up to the second one, unless the directory names one.
FIRST_PAUSE: Final = 0.25
MAX_PAUSE: Final = 5.0
#: Seconds after which waiting ends. An authority asks from several places, with timeouts of about 10 s.
LIMIT: Final = 300.0


async def settled(
    look: Callable[[], Awaitable[tuple[T, float | None]]],
    is_settled: Callable[[T], bool],
    what: str,
    clock: IReactorTime,
) -> T:
    """The first answer of ``look`` that has settled.

    :param look: asks for the resource, and for the Retry-After of the answer.
    :param what: what is waited for, to begin a message with.
    :raises AcmeError: if it does not settle in time.
    """
    pause, deadline = FIRST_PAUSE, clock.seconds() + LIMIT
    while True:
        found, wanted = await look()
        if is_settled(found):
            return found
        left = deadline - clock.seconds()
        if left <= 0:
            raise AcmeError(f"{what}: the directory has not decided within {LIMIT:g} s; it is tried again")
        await deferLater(clock, min(wanted or pause, left))
        pause = min(2 * pause, MAX_PAUSE)
