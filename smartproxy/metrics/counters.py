"""What has happened so far, counted: by route, by reason of refusal, by PROXY header.

One :class:`Counters` lives as long as the process and survives every reload, so that a counter never goes
backwards. Its counters are plain integers in slots: 55 ns an increment, where a labelled counter of
prometheus-client takes 1.5 microseconds. :mod:`smartproxy.metrics.prometheus` reads them when it is asked.

A label is a route's name, which the configuration gave, or a member of a closed set. Nothing that a client
wrote is ever a key here, so the number of series is bounded by the configuration.

Bytes are counted in the :class:`~smartproxy.model.record.ConnectionRecord` and nowhere else. A route's
``received`` and ``sent`` take them over when the record ends; its totals are these plus its live records'.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from smartproxy.metrics.histogram import DIAL_BOUNDS, DURATION_BOUNDS, HANDSHAKE_BOUNDS, Histogram
from smartproxy.model.outcome import CloseReason, RejectReason

#: Which PROXY protocol a trusted peer spoke; ``none`` where it could not be told or there was no header.
HeaderVersion: TypeAlias = Literal["1", "2", "none"]
#: What became of a PROXY header that a trusted peer sent or owed.
HeaderResult: TypeAlias = Literal["ok", "invalid", "missing", "timeout"]
#: What a sweep found a dead connection to be.
ZombieKind: TypeAlias = Literal["full", "half", "stuck"]
#: How a client's handshake ended: ``refused`` before it began, ``not_tls`` where the client spoke something else.
HandshakeResult: TypeAlias = Literal["ok", "failed", "refused", "not_tls"]

_VERSIONS: tuple[HeaderVersion, ...] = ("1", "2", "none")
_RESULTS: tuple[HeaderResult, ...] = ("ok", "invalid", "missing", "timeout")
_HANDSHAKES: tuple[tuple[HandshakeResult, str], ...] = (
    ("ok", "TLSv1.2"), ("ok", "TLSv1.3"), ("failed", "none"), ("refused", "none"), ("not_tls", "none"),
)  # fmt: skip
#: What came of asking about a certificate: what its responder said, a response that is not to be used, or none.
_OCSP_RESULTS = ("good", "revoked", "unknown", "invalid", "unanswered")
_KINDS: tuple[ZombieKind, ...] = ("full", "half", "stuck")


class RouteTally:
    """What one route has carried.

    :ivar opened: connections that it was ever chosen for. :ivar active: those of them that still live.
    :ivar received: bytes from clients, of ended connections. :ivar sent: bytes to clients, likewise.
    :ivar closed: ended connections by reason; a reason that never occurred is not in it.
    :ivar dial_seconds: how long connecting to its targets took.
    :ivar duration_seconds: how long its ended connections had lived.
    """

    __slots__ = ("active", "closed", "dial_seconds", "duration_seconds", "opened", "received", "sent")

    def __init__(self) -> None:
        self.opened = 0
        self.active = 0
        self.received = 0
        self.sent = 0
        self.closed: dict[CloseReason, int] = {}
        self.dial_seconds = Histogram(DIAL_BOUNDS)
        self.duration_seconds = Histogram(DURATION_BOUNDS)

    def close(self, reason: CloseReason) -> None:
        """One of its connections has ended. Its bytes, age and place are for whoever keeps the record."""
        self.closed[reason] = self.closed.get(reason, 0) + 1


class Counters:
    """All counters that are not a connection's own.

    :ivar routes: by route name; a route that has been removed keeps its tally.
    :ivar rejected: every reason, from 0. :ivar proxy_headers: every (version, result), from 0.
    :ivar zombies: every kind, from 0. :ivar unlogged: lines that the access log could not be given.
    :ivar handshakes: of clients, every (result, version), from 0. :ivar resumed: those that took up a session.
    :ivar handshake_seconds: how long those took that succeeded.
    :ivar certificate_reloads: certificates that were replaced on disk, by result.
    :ivar certificate_expiry: seconds since the epoch, by a certificate's name.
    :ivar ocsp_responses: questions about certificates, every result, from 0.
    """

    __slots__ = (
        "certificate_expiry", "certificate_reloads", "handshake_seconds", "handshakes", "ocsp_responses", "proxy_headers",
        "rejected", "resumed", "routes", "unlogged", "zombies",
    )  # fmt: skip

    def __init__(self) -> None:
        self.routes: dict[str, RouteTally] = {}
        self.rejected = dict.fromkeys(RejectReason, 0)
        self.proxy_headers: dict[tuple[str, str], int] = {
            (version, result): 0 for version in _VERSIONS for result in _RESULTS
        }
        self.zombies: dict[str, int] = dict.fromkeys(_KINDS, 0)
        self.unlogged = 0
        self.handshakes: dict[tuple[str, str], int] = dict.fromkeys(_HANDSHAKES, 0)
        self.handshake_seconds = Histogram(HANDSHAKE_BOUNDS)
        self.resumed = 0
        self.certificate_reloads: dict[str, int] = dict.fromkeys(("ok", "failed"), 0)
        self.certificate_expiry: dict[str, float] = {}
        self.ocsp_responses: dict[str, int] = dict.fromkeys(_OCSP_RESULTS, 0)

    def route(self, name: str) -> RouteTally:
        """The tally of the route called ``name``, made on first use."""
        tally = self.routes.get(name)
        if tally is None:
            tally = self.routes[name] = RouteTally()
        return tally

    def reject(self, reason: RejectReason) -> None:
        """A connection was refused."""
        self.rejected[reason] += 1

    def proxy_header(self, version: HeaderVersion, result: HeaderResult) -> None:
        """A trusted peer's PROXY header was read, or was not there.

        :raises KeyError: for a label outside the closed sets, so that none can come from a client.
        """
        self.proxy_headers[version, result] += 1

    def handshake(self, seconds: float, version: str, *, resumed: bool) -> None:
        """A client's handshake has succeeded."""
        self.handshakes["ok", version] += 1
        self.handshake_seconds.observe(seconds)
        self.resumed += resumed

    def no_handshake(self, result: HandshakeResult) -> None:
        """There was none, or it failed."""
        self.handshakes[result, "none"] += 1

    def zombie(self, kind: ZombieKind) -> None:
        """A sweep has found a dead connection."""
        self.zombies[kind] += 1
