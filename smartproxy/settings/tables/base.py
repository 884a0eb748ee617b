"""The base of all tables of the configuration, and the keys that a route shares with ``defaults`` and the top level.

A key is camelCase in a file and snake_case in Python. The docstring under an attribute describes its key: the JSON Schema and
the configuration reference are made from it. A table is frozen after validation.

``model_fields_set`` tells a key that was left out from one that was set to its default: a key that a route leaves out
is inherited from ``defaults``, and then from the top level (:func:`inherited`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from smartproxy.settings.tables.types import (
    Duration,
    Flag,
    Least,
    ProbeCount,
    ProbeDelay,
    Share,
    UserTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where the name in a file is not the plain camelCase of the one in Python.
_IRREGULAR = {"proxy_ips": "proxyIPs", "max_connections_per_ip": "maxConnectionsPerIP"}


@cache
def file_key(name: str) -> str:
    """The key in a file for an attribute: ``max_connections`` is ``maxConnections``."""
    first, *rest = name.split("_")
    return _IRREGULAR.get(name) or first + "".join(word.capitalize() for word in rest)


class Explanations:
    """How a wrong call of a table is reported. :mod:`smartproxy.settings.checks` knows, and imports the tables.

    :cvar invalid: the exception for an error of pydantic in a call of a table with these arguments.
    :cvar positional: the exception for arguments without names.
    """

    invalid: ClassVar[Callable[[ValidationError, type[BaseModel], dict[str, object]], Exception]]
    positional: ClassVar[Callable[[type[BaseModel], tuple[object, ...]], Exception]]


if TYPE_CHECKING:
    _Model = BaseModel
else:

    class _Explaining(type(BaseModel)):
        """Reports a wrong call in a program. pydantic itself makes tables without a call: its errors stay as they are."""

        def __call__(cls, *args: object, **kwargs: object) -> BaseModel:
            if args:
                raise Explanations.positional(cls, args)
            try:
                return super().__call__(**kwargs)
            except ValidationError as error:
                raise Explanations.invalid(error, cls, kwargs) from None

    class _Model(BaseModel, metaclass=_Explaining):
        pass


class Table(_Model):
    """A table of keys."""

    model_config = ConfigDict(
        alias_generator=file_key,
        validate_by_alias=True,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        # Most tables are only read as a part of the whole: none is compiled before it is called itself.
        defer_build=True,
    )


class Extensible(Table):
    """A table in which keys that begin with ``x-`` are ignored, as in Compose files: a place for anchors."""

    model_config = ConfigDict(json_schema_extra={"patternProperties": {"^x-": {}}})

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, written: object) -> object:
        if not isinstance(written, Mapping) or not any(
            key.startswith("x-") for key in written if isinstance(key, str)
        ):
            return written
        return {key: value for key, value in written.items() if not str(key).startswith("x-")}


class ConnectionKeys(Table):
    """Keys that the top level, ``defaults`` and each route may have."""

    connection_timeout: Annotated[Duration, Least(100)] = "30s"
    """Time limit for dialing one target, for resolving its name, and for each callable that chooses it. All targets
    of a connection together have three times this limit (a TLS handshake has its own limit); 0 is no limit."""
    initial_data_timeout: Annotated[Duration, Least(500)] = "60s"
    """Time limit for the client's first bytes, where a route needs to see them."""
    tls_handshake_timeout: Annotated[Duration, Least(500)] = "10s"
    """Time limit for a TLS handshake."""
    inactivity_timeout: Annotated[Duration, Least(5_000)] = "4h"
    """A connection without a byte in either direction for this long is closed; 0 is no limit. Under the default
    `keepAliveTreatment`, `extended`, it is multiplied by `keepAliveInactivityMultiplier`: 4h is 24h in effect, and 1m is 6m."""
    half_close_timeout: Annotated[Duration, Least(500)] = "60s"
    """A connection with one direction closed and no byte in the other for this long is closed; so is one of HTTP whose client
    reads nothing of its last answer."""
    max_connection_lifetime: Annotated[Duration, Least(60_000)] = "24h"
    """Time limit for a whole connection; 0 is no limit. Under the default `keepAliveTreatment`, `extended`,
    `extendedKeepAliveLifetime` applies in its place."""
    tcp_user_timeout: UserTimeout = 0
    """`TCP_USER_TIMEOUT` of the sockets of both sides: how long sent data may stay unacknowledged, or wait for a peer that
    does not read, before the kernel resets the connection; 0 is the default of the system (about 15 minutes, and no limit for
    a peer that acknowledges and does not read). So a dead peer with data under way is found in this time. With `keepAlive` it
    also takes the place of `keepAliveCount`. Minutes are sensible: a peer that is busy for longer loses its connection."""
    timeout_jitter: Share = 0
    """Largest share, 0 to 1, by which the inactivity, lifetime and half-close timeouts of a connection are shortened at
    random, so that connections opened together are not closed together; 0 is off."""
    keep_alive: Flag = True
    """TCP keep-alive on both sides. A connection that has it is a keep-alive connection."""
    keep_alive_treatment: Literal["standard", "extended", "immortal"] = "extended"
    """The timeouts of keep-alive connections. `standard`: the normal ones; `extended`: the inactivity
    timeout times `keepAliveInactivityMultiplier`, and the lifetime `extendedKeepAliveLifetime`; `immortal`: neither, nor `halfCloseTimeout`.
    Set it beside a timeout: `smartproxy check` warns of one that the default treatment changes."""
    keep_alive_inactivity_multiplier: Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)] = 6
    """Factor of the inactivity timeout under `extended` treatment."""
    extended_keep_alive_lifetime: Annotated[Duration, Least(60_000)] = "7d"
    """Time limit for a whole connection under `extended` treatment."""
    keep_alive_initial_delay: Annotated[ProbeDelay, Least(10_000)] = "60s"
    """With `keepAlive`: how long a connection is idle before the kernel sends the first probe; in whole seconds, and 0 is the
    default of the system."""
    keep_alive_interval: Annotated[ProbeDelay, Least(1_000)] = "15s"
    """Time between two probes; in whole seconds, and 0 is the default of the system."""
    keep_alive_count: ProbeCount = 9
    """How many probes without an answer reset the connection; 0 is the default of the system."""


def inherited(name: str, *levels: Table | None) -> Any:
    """The value of ``name`` at the first of the levels that sets it, or else its default at the last one.

    Its type is that of the attribute, which all levels share; that cannot be expressed for a name.
    """
    for level in levels:
        if level is not None and name in level.model_fields_set:
            return getattr(level, name)
    return getattr(levels[-1], name)
