"""Compiled terms of HTTP (``action.http``)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """The terms of a route that speaks HTTP. Times are in seconds; 0 is no limit.

    :ivar request_timeout: from a request's first byte to the end of its head; then between two pieces of its body.
    :ivar keep_alive_timeout: between two requests.
    :ivar answer_timeout: from the end of a request to the head of its answer.
    """

    request_timeout: float = 60.0
    keep_alive_timeout: float = 75.0
    answer_timeout: float = 300.0
