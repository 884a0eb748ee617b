"""Long work in the event loop, in slices between which other events are handled.

::

    slices = Slices(clock)
    for piece in pieces:
        write(piece)              # half a millisecond at most
        await slices.turn()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.task import deferLater

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

#: Seconds of work between two turns of the event loop; and a piece more, which takes half a millisecond.
SLICE: Final = 0.002


class Slices:
    """Returns to the event loop when a slice is over. The first slice begins now.

    :param clock: the reactor; a clock that stands still during an iteration would never end a slice.
    """

    def __init__(self, clock: IReactorTime, seconds: float = SLICE) -> None:
        self._clock = clock
        self._seconds = seconds
        self._pause_at = clock.seconds() + seconds

    async def turn(self) -> None:
        """Return to the event loop if the slice is over; called after each piece of work."""
        if self._clock.seconds() >= self._pause_at:
            await deferLater(self._clock, 0)
            self._pause_at = self._clock.seconds() + self._seconds
