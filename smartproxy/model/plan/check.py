"""Compiled active checks of targets (``healthCheck``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    from smartproxy.model.plan.tls import OriginationPlan
    from smartproxy.model.target_status import CheckedTarget


class CheckKind(StrEnum):
    """What a check does with a target."""

    CONNECT = "connect"
    TLS = "tls"
    HTTP = "http"
    SCRIPT = "script"
    PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class HttpCheckPlan:
    """The request of an ``http`` check, and the answer that passes.

    :ivar host: the Host that is asked for; ``None``: that of the target.
    :ivar statuses: ranges of statuses that pass.
    :ivar body: what the body must contain; empty: anything.
    """

    method: str = "GET"
    path: str = "/"
    host: str | None = None
    statuses: tuple[range, ...] = (range(200, 400),)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of a ``script`` check; exactly one of its values is set.

    :ivar send: bytes to send.
    :ivar expect: bytes that must be received, at whatever place.
    :ivar pattern: likewise, as a regular expression.
    """

    send: bytes = b""
    expect: bytes = b""
    pattern: re.Pattern[bytes] | None = None


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """How a target is checked. Times are in seconds.

    :ivar port: ``None``: that of the target.
    :ivar interval: between two checks of a target that is up or down.
    :ivar fast_interval: while it is between these states.
    :ivar timeout: for a whole check.
    :ivar rise: so many checks in a row that pass make a target up.
    :ivar fall: so many that fail make it down.
    :ivar tls: ``None``: the check is not encrypted.
    :ivar program: an embedder's callable; only of the kind ``PROGRAM``. It returns a string or ``None``, or an awaitable or a
        Deferred of one, which is checked each time.
    """

    kind: CheckKind = CheckKind.CONNECT
    port: int | None = None
    interval: float = 2.0
    fast_interval: float = 1.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
    tls: OriginationPlan | None = None
    http: HttpCheckPlan = HttpCheckPlan()
    steps: tuple[StepPlan, ...] = ()
    program: Callable[[CheckedTarget], object] | None = None
