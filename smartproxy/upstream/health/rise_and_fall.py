"""When the results of checks make a target up or down.

::

    UP --> FALLING --> DOWN      FAILED, as many in a row as ``fall``
     ^------'  ^         |       PASSED
     `------ RISING <----'       PASSED, as many in a row as ``rise``; FAILED leads back
"""

from __future__ import annotations

from enum import auto

from smartproxy.flow.states import State


class Checked(State):
    """What checks say of a target."""

    UP = auto()
    FALLING = auto()  # up, and the last check has failed
    DOWN = auto()
    RISING = auto()  # down, and the last check has passed


_UP, _FALLING, _DOWN, _RISING = Checked.UP, Checked.FALLING, Checked.DOWN, Checked.RISING


class RiseAndFall:
    """Counts results. A target that has not been checked yet is up."""

    __slots__ = ("_count", "_fall", "_rise", "state")

    def __init__(self, rise: int, fall: int, *, up: bool = True) -> None:
        self._rise = rise
        self._fall = fall
        self._count = 0
        self.state = _UP if up else _DOWN

    @property
    def is_up(self) -> bool:
        """Whether the target gets connections."""
        return self.state is _UP or self.state is _FALLING

    @property
    def is_between(self) -> bool:
        """Whether the last result was unlike the state, so that the next one should come soon."""
        return self.state is _FALLING or self.state is _RISING

    def add(self, *, passed: bool) -> None:
        """Count a result."""
        if passed is self.is_up:
            self._count = 0
            self.state = _UP if passed else _DOWN
            return
        self._count += 1
        if self._count < (self._rise if passed else self._fall):
            self.state = _RISING if passed else _FALLING
        else:
            self._count = 0
            self.state = _UP if passed else _DOWN
