"""Asking a target once, in the way that its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from smartproxy.model.plan.check import CheckKind
from smartproxy.upstream.health.connections import announce
from smartproxy.upstream.health.http_request import HttpCheck
from smartproxy.upstream.health.program import ProgramCheck
from smartproxy.upstream.health.script import ScriptCheck
from smartproxy.upstream.interfaces import ICheck

if TYPE_CHECKING:
    from smartproxy.flow.side import Side
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.health.connections import CheckConnections


@implementer(ICheck)
class Checks:
    """All kinds of checks."""

    def __init__(self, connections: CheckConnections) -> None:
        self._kinds: dict[CheckKind, ICheck] = {
            CheckKind.CONNECT: ConnectCheck(connections),
            CheckKind.TLS: TlsCheck(connections),
            CheckKind.HTTP: HttpCheck(connections),
            CheckKind.SCRIPT: ScriptCheck(connections),
            CheckKind.PROGRAM: ProgramCheck(),
        }

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`. It does not raise: the Deferred fails."""
        try:
            return self._kinds[plan.kind](candidate, plan)
        except Exception:
            return fail()


@implementer(ICheck)
class ConnectCheck:
    """A target passes if it accepts a connection. No coroutine: thousands of targets are checked so."""

    def __init__(self, connections: CheckConnections) -> None:
        self._connections = connections

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`."""
        return self._connections.dial(candidate, plan).addCallback(self._connected, candidate)

    def _connected(self, side: Side, candidate: Candidate) -> str:
        announce(side, candidate.target)
        self._connections.close(side)
        return "connected"


@implementer(ICheck)
class TlsCheck:
    """A target passes if it completes a TLS handshake."""

    def __init__(self, connections: CheckConnections) -> None:
        self._connections = connections

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`."""
        return Deferred.fromCoroutine(self._ask(candidate, plan))

    async def _ask(self, candidate: Candidate, plan: CheckPlan) -> str:
        self._connections.close(await self._connections.open(candidate, plan))
        return "connected with TLS"
