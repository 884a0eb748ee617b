"""The terms on which a route speaks HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.types import (
    Duration,
    Flag,
    HeaderName,
    HeaderTemplate,
    HeadSize,
    HostHeader,
    Interval,
    Least,
    Origin,
    PathPrefix,
    PathTemplate,
    Positive,
    Size,
)


class PoolSettings(Table):
    """Connections to targets that wait for another request."""

    idle_timeout: Annotated[Interval, Least(100)] = "60s"
    """How long one waits; below the time after which the target closes it."""
    max_idle: Positive = 64
    """How many of one target wait."""


class WebsocketSettings(Table):
    """Connections that have switched to another protocol, such as WebSocket."""

    idle_timeout: Annotated[Duration, Least(1_000)] = "1h"
    """No byte either way, in place of `inactivityTimeout`; 0 is no limit."""
    origins: Annotated[list[Origin], OneOrList()] = Field(default_factory=list)
    """The `Origin` that a browser must send, like `https://example.com`; others get 403. Empty: any."""


class HeaderChanges(Table):
    """Rules for the fields of a message."""

    set: dict[HeaderName, HeaderTemplate] = Field(default_factory=dict)
    """Headers with exactly these values, in place of what there is of that name. None is sent where the variables of a value make it
    empty."""
    add: dict[HeaderName, HeaderTemplate] = Field(default_factory=dict)
    """Headers beside others of that name, likewise."""
    remove: Annotated[list[HeaderName], OneOrList()] = Field(default_factory=list)
    """Headers to remove."""


class MessageHeaders(Table):
    """Rules for the headers of requests, and of their answers."""

    request: HeaderChanges = HeaderChanges()
    """What targets get. It is applied last, and also to what the proxy adds itself. `set` and `remove` also remove what differs from a
    name only by `_` or `.` in place of `-`."""
    response: HeaderChanges = HeaderChanges()
    """What clients get: with every final answer to a request that has a route, also those of the proxy itself."""


class RewriteSettings(Table):
    """Another path and Host for the requests to targets. The query is kept."""

    path: PathTemplate | None = None
    """The whole path, with variables; `:name` is a segment of `match.path`, and `{path}` the path that was received, without
    `stripPrefix`."""
    strip_prefix: PathPrefix | None = None
    """Removed where a path begins with it: of `/api`, `/api/x` becomes `/x` and `/api` becomes `/`; `/apix` stays."""
    host: HostHeader = "preserve"
    """`Host` of the request: `preserve` is that of the client, `target` that of the target; or a host. `X-Forwarded-Host` is the
    client's in any case."""


class HttpSettings(Table):
    """How HTTP is spoken."""

    max_header_size: Annotated[HeadSize, Least(1024)] = "64KiB"
    """The largest head of a request, its request line and its blank line included: a larger one gets 431, and 414 where the request
    line alone is too long. 1 KiB to 128 KiB."""
    max_headers: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100
    """The most header fields of a request; more get 431."""
    max_body_size: Annotated[Size, Least(1)] = 0
    """The longest body of a request; a longer one gets 413. 0 is no limit."""
    body_minimum_rate: Annotated[Size, Least(1)] = 0
    """Bytes a second that a request's body has at least, over any 10 s; a slower one gets 408. 0 is none. Time in which the target does
    not read is left out."""
    request_timeout: Annotated[Duration, Least(100)] = "60s"
    """From the first byte of a request to the end of its head, and then between two pieces of its body; 0 is no limit. While the target
    does not read, `inactivityTimeout` holds instead."""
    keep_alive_timeout: Annotated[Duration, Least(100)] = "75s"
    """How long a client's connection waits for another request; 0 is no limit."""
    response_timeout: Annotated[Duration, Least(100)] = "5m"
    """From the end of a request to the head of its answer; 0 is no limit. Within the answer `inactivityTimeout` holds, not multiplied."""
    retries: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    """How often a request is repeated that met an idle connection just as the target closed it."""
    remember_heads: Flag = True
    """Whether heads that were parsed are remembered, because clients and targets repeat theirs: at most 1,024 of each kind and 2 KiB,
    cookies and credentials in them included, in the memory of the process only. Where requests of one connection go to several routes,
    the route of the first decides."""
    pool: PoolSettings = PoolSettings()
    """Connections to targets that wait for another request."""
    websocket: WebsocketSettings = WebsocketSettings()
    """Connections that have switched to another protocol, such as WebSocket."""
