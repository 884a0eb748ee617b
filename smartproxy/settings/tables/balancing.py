"""How targets share connections, and how it is found out which of them are up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.shapes import callable_shape
from smartproxy.settings.tables.tls import UpstreamTls  # noqa: TC001 - pydantic evaluates annotations
from smartproxy.settings.tables.types import (
    FLAG_OR_TABLE,
    Base64,
    CheckType,
    Duration,
    FilePath,
    Flag,
    HeaderValue,
    Interval,
    Least,
    Method,
    NonEmptyString,
    PortNumber,
    Positive,
    RegularExpression,
    RequestTarget,
    StatusRange,
)
from smartproxy.upstream.interfaces import Balancer

#: Gives the balancer of a group, by the name of the group.
BalancerFactory: TypeAlias = Callable[[str], Balancer]
Algorithm: TypeAlias = Annotated[
    Annotated[Literal["roundRobin", "leastConnections", "random", "source", "first"], Tag("<name>")]
    | Annotated[BalancerFactory, Tag("<callable>"), SkipJsonSchema()],
    Discriminator(callable_shape),
]


class LoadBalancing(Table):
    """How a target is chosen."""

    algorithm: Algorithm = "roundRobin"
    """`roundRobin`: in turn, in proportion to the weights; `leastConnections`: the one with the fewest connections for its
    weight; `random`: the better of two drawn at random; `source`: always the same one for a client address; `first`: the
    first in the list that is below its `maxConnections`. In Python also a callable that is given the name of a group and returns
    its balancer."""
    slow_start: Annotated[Duration, Least(1_000)] = 0
    """The time in which the share of a target that comes back up, or is added, grows from near 0 to its weight; 0 is off."""


class PassiveHealth(Table):
    """When failures take a target out.

    A connection attempt fails where it is refused, times out, or its TLS fails; a request where its answer is no HTTP, or a new
    connection ends before there is one. Statuses, 5xx too, are no failures.
    """

    failures: Positive = 1
    """So many failures within `window` eject a target: of attempts, without one that succeeds in between, or of requests."""
    window: Annotated[Interval, Least(500)] = "10s"
    """The time in which they are counted."""
    eject_for: Annotated[Interval, Least(500)] = "10s"
    """How long an ejected target gets no connection. Then one connection tries it, and its outcome decides."""


class QueueSettings(Table):
    """Clients that wait while every target is at its `maxConnections`."""

    size: Positive
    """The most clients that wait; others are refused."""
    timeout: Annotated[Interval, Least(100)] = "5s"
    """How long a client waits before it is refused."""


class CheckStep(Table):
    """One step of a script: exactly one of its keys."""

    send: NonEmptyString | None = None
    """Text to send, in UTF-8."""
    send_base64: Base64 | None = None
    """Bytes to send, in base64."""
    expect: NonEmptyString | None = None
    """Text that must be received."""
    expect_base64: Base64 | None = None
    """Bytes that must be received, in base64."""
    expect_regex: RegularExpression | None = None
    """A regular expression (Python's syntax, on bytes) that what is received must contain a match of."""


class HealthCheck(Table):
    """How a target is checked. A target that has not been checked yet is up."""

    type: CheckType = "connect"
    """`connect`: the target accepts a connection; `tls`: it completes a TLS handshake; `http`: it answers a request; `script`: a
    conversation of `steps`. In Python also a callable."""
    port: PortNumber | None = Field(default=None, json_schema_extra={"x-default": "that of the target"})
    """The port to check. It is checked on the terms of the target: with its PROXY header, and with its TLS unless `tls` is
    set here."""
    interval: Annotated[Interval, Least(100)] = "2s"
    """Time from the beginning of one check to that of the next, give or take a tenth at random. One that takes longer is
    followed at once."""
    fast_interval: Annotated[Interval, Least(100)] = Field(
        default="1s", json_schema_extra={"x-default": "1s, or `interval` if that is shorter"}
    )
    """The same while a target is between up and down."""
    timeout: Annotated[Interval, Least(100)] = "2s"
    """Time limit for a whole check."""
    rise: Positive = 2
    """So many checks in a row must pass before a target that is down is up."""
    fall: Positive = 3
    """So many checks in a row must fail before a target that is up is down."""
    tls: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[UpstreamTls, Tag("<table>")],
        FLAG_OR_TABLE,
        Field(json_schema_extra={"x-default": "that of the target"}),
    ] = False
    """Whether `http` and `script` are over TLS; a mapping sets how."""
    path: RequestTarget = "/"
    """For `http`: the path to ask for, with its query."""
    method: Method = "GET"
    """For `http`: the method."""
    host_header: HeaderValue | None = Field(
        default=None, json_schema_extra={"x-default": "host and port that are asked"}
    )
    """For `http`: the Host to ask for."""
    expect_status: Annotated[list[StatusRange], Field(min_length=1), OneOrList()] = Field(default=["200-399"])
    """For `http`: statuses that pass, as numbers or ranges like `"200-299"`."""
    expect_body: NonEmptyString | None = None
    """For `http`: text that the body must contain, in its first 64 KiB."""
    steps: Annotated[list[CheckStep], OneOrList()] = Field(default_factory=list)
    """For `script`: what is sent and expected, in order."""


HealthCheckChoice = Annotated[
    Annotated[Flag, Tag("<flag>")] | Annotated[HealthCheck, Tag("<table>")], FLAG_OR_TABLE
]
PassiveHealthChoice = Annotated[
    Annotated[Flag, Tag("<flag>")] | Annotated[PassiveHealth, Tag("<table>")], FLAG_OR_TABLE
]


class BalancingDefaults(Table):
    """Keys that ``defaults``, a route's action and a group have."""

    load_balancing: LoadBalancing = LoadBalancing()
    """How a target is chosen."""
    health_check: HealthCheckChoice = False
    """Check targets, so that one that is down gets no connection; `true` connects to them, a mapping sets how."""
    passive_health: PassiveHealthChoice = True
    """Leave out a target that does not accept connections, or answer requests; `false` tries every target in its turn, a mapping sets when."""


class Balancing(BalancingDefaults):
    """Keys that a route's action and a group have."""

    targets_file: FilePath | None = None
    """A file with more targets, in YAML or JSON: a list with the same keys as `targets`. It is watched, and read again when it
    has changed; one that cannot be used then leaves the former targets in place."""
    when_down: Literal["keep", "reset"] = "keep"
    """What becomes of the connections of a target that a check finds down: `reset` ends them."""
    queue: QueueSettings | None = None
    """Clients that wait while every target is at its `maxConnections`; without it, they are refused."""
