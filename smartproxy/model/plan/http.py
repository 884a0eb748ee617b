"""Compiled terms of HTTP (``action.http``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from smartproxy.wire.http_head import HEAD_LIMITS, HeadLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.model.plan.error_page import ErrorPage

#: The target of a request that is sent on; empty where the request is refused. It is given an
#: :class:`~smartproxy.model.exchange.Exchange`, which this module is below of.
TargetRewriter: TypeAlias = Callable[[Any], str]


class FieldRules(Protocol):
    """Rules for the fields of a message: :class:`~smartproxy.http.header_rules.HeaderRules`."""

    def __call__(self, lines: bytes, exchange: Any, /) -> bytes:
        """The lines of fields with the rules applied."""

    def without(self, lines: bytes, /) -> bytes:
        """The lines of those fields that no rule sets or removes."""

    def written(self) -> dict[str, object]:
        """The rules under the keys of a configuration."""


@dataclass(frozen=True, slots=True)
class RewritePlan:
    """How the line and the Host of a request are changed.

    :ivar path: as in the configuration; ``None`` leaves it.
    :ivar strip_prefix: begin of paths that is removed; empty for none.
    :ivar host: ``preserve``, ``target``, or the value of Host.
    :ivar target: what is sent in the request line; ``None`` leaves the target as it is.
    """

    path: str | None = None
    strip_prefix: str = ""
    host: str = "preserve"
    target: TargetRewriter | None = None


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """The terms of a route that speaks HTTP. Times are in seconds, sizes in bytes; 0 is no limit.

    :ivar request_timeout: from a request's first byte to the end of its head; then between two pieces of its body.
    :ivar keep_alive_timeout: between two requests.
    :ivar answer_timeout: from the end of a request to the head of its answer.
    :ivar max_body: of a request.
    :ivar body_rate: fewer bytes of a body than so many a second, over any 10 s, are too few.
    :ivar head: limits of a request's head.
    :ivar retries: how often a request is repeated that met an idle connection as the target closed it.
    :ivar idle_timeout: of a connection to a target that waits for another request.
    :ivar most_idle: how many of one target wait.
    :ivar tunnel_timeout: of a connection that has switched to another protocol: no byte either way.
    :ivar origins: what a browser's ``Origin`` must be for such a connection, in lower case; empty: anything.
    :ivar remembers: whether heads that were parsed are remembered.
    :ivar forwarded: whether targets learn who the client is.
    :ivar request_rules: for the fields of requests; ``None`` for none.
    :ivar answer_rules: for those of answers, likewise.
    :ivar rewrite: ``None`` leaves line and Host as they are.
    :ivar error_pages: for answers of the proxy itself, by status.
    :ivar request_ports: where it is not ``None``, they hold for connections that begin with a request only, and only at these ports: by
        port, 1 where they do. Bytes of others are forwarded as they are.
    """

    request_timeout: float = 60.0
    keep_alive_timeout: float = 75.0
    answer_timeout: float = 300.0
    max_body: int = 0
    body_rate: int = 0
    head: HeadLimits = HEAD_LIMITS
    retries: int = 1
    idle_timeout: float = 60.0
    most_idle: int = 64
    tunnel_timeout: float = 3600.0
    origins: frozenset[str] = frozenset()
    remembers: bool = True
    forwarded: bool = True
    request_rules: FieldRules | None = None
    answer_rules: FieldRules | None = None
    rewrite: RewritePlan | None = None
    error_pages: Mapping[int, ErrorPage] = field(default_factory=dict, hash=False)
    request_ports: bytes | None = field(default=None, repr=False)

    def holds_at(self, port: int) -> bool:
        """Whether they hold at ``port``, for connections that begin with a request."""
        return self.request_ports is None or self.request_ports[port] == 1
