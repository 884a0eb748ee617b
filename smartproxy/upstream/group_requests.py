"""What is counted of the HTTP requests of a target group."""

from __future__ import annotations


class GroupRequests:
    """The counts of one group.

    :ivar active: connections to its targets that carry a request now; tunnels are not among them.
    :ivar retries: requests that were sent again, because an idle connection was closed as it was used.
    """

    __slots__ = ("active", "retries")

    def __init__(self) -> None:
        self.active = 0
        self.retries = 0
