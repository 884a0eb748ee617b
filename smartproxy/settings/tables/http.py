"""The terms on which a route speaks HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.types import Duration, Interval, Least, NonEmptyString, Positive, Size


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
    origins: Annotated[list[NonEmptyString], OneOrList()] = Field(default_factory=list)
    """The `Origin` that a browser must send, like `https://example.com`; others get 403. Empty: any."""


class HttpSettings(Table):
    """How HTTP is spoken."""

    max_body_size: Annotated[Size, Least(1)] = 0
    """The longest body of a request; a longer one gets 413. 0 is no limit."""
    request_timeout: Annotated[Duration, Least(100)] = "60s"
    """From the first byte of a request to the end of its head, and then between two pieces of its body; 0 is no limit."""
    keep_alive_timeout: Annotated[Duration, Least(100)] = "75s"
    """How long a client's connection waits for another request; 0 is no limit."""
    response_timeout: Annotated[Duration, Least(100)] = "5m"
    """From the end of a request to the head of its answer; 0 is no limit."""
    retries: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    """How often a request is repeated that met an idle connection just as the target closed it."""
    pool: PoolSettings = PoolSettings()
    """Connections to targets that wait for another request."""
    websocket: WebsocketSettings = WebsocketSettings()
    """Connections that have switched to another protocol, such as WebSocket."""
