"""State of what a configuration names, which outlives a reload that does not change it."""

from __future__ import annotations


class CarriesState:
    """The base of what has a state beside its settings. A route has it; each reload makes it again."""

    def carry_over(self, former: object) -> None:
        """Go on with the state of ``former``, of the route with the same name in the configuration before, if it has the same settings.

        Both may be used afterwards: connections from before the reload may go on with ``former``, and the new one may be
        given up. So the state is shared, and ``former`` itself must not be kept.
        """
        raise NotImplementedError


class TarpitRoom:
    """The room for clients in a tarpit.

    :ivar left: further clients that may be kept waiting.
    """

    def __init__(self, most: int) -> None:
        self.left = most
