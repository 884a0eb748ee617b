"""What all tables of the configuration have in common, and the keys that a route shares with the whole.

A key is camelCase in a file and snake_case in Python. The text under an attribute describes its key: the JSON
Schema and the configuration reference are made from it. A table is frozen once it has been found right.

A key that was left out and one that was written with its default are told apart by ``model_fields_set``:
what a route does not say, ``defaults`` and then the top level say for it (:func:`inherited`).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from smartproxy.settings.tables.types import (  # noqa: TC001 - pydantic evaluates annotations
    Duration,
    Flag,
    ProbeCount,
    ProbeDelay,
    Share,
)

#: Where the name in a file is not the plain camelCase of the one in Python.
_IRREGULAR = {"proxy_ips": "proxyIPs", "max_connections_per_ip": "maxConnectionsPerIP"}


@cache
def file_key(name: str) -> str:
    """The key in a file for an attribute: ``max_connections`` is ``maxConnections``."""
    first, *rest = name.split("_")
    return _IRREGULAR.get(name) or first + "".join(word.capitalize() for word in rest)


class Table(BaseModel):
    """A table of keys."""

    model_config = ConfigDict(
        alias_generator=file_key,
        validate_by_alias=True,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class ConnectionKeys(Table):
    """What may be said of all connections, in ``defaults``, and of the connections of one route."""

    connection_timeout: Duration = "30s"
    """Dialing one target."""
    initial_data_timeout: Duration = "60s"
    """The first bytes must have come by then, where a route needs to see them."""
    tls_handshake_timeout: Duration = "10s"
    """A TLS handshake must be complete by then."""
    inactivity_timeout: Duration = "4h"
    """No byte either way for so long ends a connection; 0 is never."""
    half_close_timeout: Duration = "60s"
    """One direction has ended and the other is silent for so long."""
    max_connection_lifetime: Duration = "24h"
    """The longest that a connection may live; 0 is for ever."""
    timeout_jitter: Share = 0
    """By up to which share of its inactivity, lifetime and half-close timeouts a connection may end early, at random, so
    that those which were opened together do not all end together: 0 to 1, and 0 is off."""
    keep_alive: Flag = True
    """TCP keep-alive on both sides. A connection that has it is a keep-alive connection."""
    keep_alive_treatment: Literal["standard", "extended", "immortal"] = "extended"
    """What the timeouts are for keep-alive connections. `standard`: the normal ones; `extended`: the inactivity
    timeout times `keepAliveInactivityMultiplier`, and the lifetime `extendedKeepAliveLifetime`; `immortal`: neither."""
    keep_alive_inactivity_multiplier: Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)] = 6
    """By how much `extended` treatment stretches the inactivity timeout."""
    extended_keep_alive_lifetime: Duration = "7d"
    """The longest that a connection under `extended` treatment may live."""
    keep_alive_initial_delay: ProbeDelay = "60s"
    """With `keepAlive`: how long a connection is silent before the kernel probes whether its peer is still there; in whole
    seconds, and 0 leaves it to the system."""
    keep_alive_interval: ProbeDelay = "15s"
    """Between two probes; likewise."""
    keep_alive_count: ProbeCount = 9
    """How many probes in a row may stay without an answer before the connection is reset; 0 leaves it to the system."""


def inherited(name: str, *levels: Table | None) -> Any:
    """The value of ``name`` at the first level that says something, or else its default at the last one."""
    for level in levels:
        if level is not None and name in level.model_fields_set:
            return getattr(level, name)
    return getattr(levels[-1], name)
