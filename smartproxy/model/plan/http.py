"""Compiled terms of HTTP (``action.http``)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """The terms of a route that speaks HTTP. Times are in seconds, sizes in bytes; 0 is no limit.

    :ivar request_timeout: from a request's first byte to the end of its head; then between two pieces of its body.
    :ivar keep_alive_timeout: between two requests.
    :ivar answer_timeout: from the end of a request to the head of its answer.
    :ivar max_body: of a request.
    :ivar retries: how often a request is repeated that met an idle connection as the target closed it.
    :ivar idle_timeout: of a connection to a target that waits for another request.
    :ivar most_idle: how many of one target wait.
    :ivar tunnel_timeout: of a connection that has switched to another protocol: no byte either way.
    :ivar origins: what a browser's ``Origin`` must be for such a connection, in lower case; empty: anything.
    :ivar remembers: whether heads that were parsed are remembered.
    :ivar forwarded: whether targets learn who the client is.
    """

    request_timeout: float = 60.0
    keep_alive_timeout: float = 75.0
    answer_timeout: float = 300.0
    max_body: int = 0
    retries: int = 1
    idle_timeout: float = 60.0
    most_idle: int = 64
    tunnel_timeout: float = 3600.0
    origins: frozenset[str] = frozenset()
    remembers: bool = True
    forwarded: bool = True
