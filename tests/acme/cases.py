"""What tests of the ACME client have in common: a directory in memory, a solver that records, and a clock that runs."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import AcmeError
from smartproxy.model.plan import ChallengeType
from tests.acme.directory import MemoryDirectory
from tests.tls.made import key

PREFERRED = (ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01, ChallengeType.DNS_01)


class RecordingSolver:
    """Records what it is asked for.

    :ivar shown: the challenges whose answers are visible now.
    :ivar log: ``present TYPE NAME`` and ``cleanup TYPE NAME``, in order.
    :ivar present_fails: raised by ``present``, or ``None``; ``cleanup_fails`` likewise.
    :ivar present_waits: is waited for by ``present``, or ``None``, or what is, by the number of the call; ``cleanup_waits`` is waited
        for by ``cleanup``.
    """

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.log: list[str] = []
        self.most = 0
        self.present_fails: Exception | None = None
        self.cleanup_fails: Exception | None = None
        self.present_waits: Deferred[None] | dict[int, Deferred[None]] | None = None
        self.cleanup_waits: Deferred[None] | None = None

    async def present(self, challenge: Any) -> None:
        self.shown.append(challenge)
        self.most = max(self.most, len(self.shown))
        self.log.append(f"present {challenge.type} {challenge.identifier}")
        waits = self.present_waits
        if isinstance(waits, dict):
            waits = waits.get(len(self.log) - 1)
        if waits is not None:
            await waits
        if self.present_fails is not None:
            raise self.present_fails

    async def cleanup(self, challenge: Any) -> None:
        self.log.append(f"cleanup {challenge.type} {challenge.identifier}")
        if self.cleanup_waits is not None:
            await self.cleanup_waits
        self.shown.remove(challenge)
        if self.cleanup_fails is not None:
            raise self.cleanup_fails


class AcmeCase(SynchronousTestCase):
    """Has a directory, a client of it, and a solver."""

    def setUp(self) -> None:
        self.directory = MemoryDirectory()
        self.clock = self.directory.clock
        self.client = self.directory.client()
        self.solver = RecordingSolver()

    def start(self, coroutine: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)

    def order(self, *names: str, **more: Any) -> Deferred[Any]:
        """An order that has been started."""
        preferred = more.pop("preferred", PREFERRED)
        return self.start(self.client.order(names, key("ec", 0), preferred, self.solver, **more))

    def finished(self, started: Deferred[Any], seconds: float = 400.0) -> Any:
        """The result, after as much time as it needs."""
        self.run_clock(started, seconds)
        return self.successResultOf(started)

    def run_clock(self, started: Deferred[Any], seconds: float) -> None:
        end = self.clock.seconds() + seconds
        while not started.called or started.paused:
            calls = self.clock.getDelayedCalls()
            if not calls or calls[0].getTime() > end:
                return
            self.clock.advance(max(0.0, calls[0].getTime() - self.clock.seconds()))

    def done(self, coroutine: Any, seconds: float = 400.0) -> Any:
        return self.finished(self.start(coroutine), seconds)

    def issued(self, *names: str, **more: Any) -> x509.Certificate:
        """The leaf of an order that succeeds."""
        return x509.load_pem_x509_certificates(self.finished(self.order(*names, **more)))[0]

    def refused(self, started: Deferred[Any], seconds: float = 400.0) -> AcmeError:
        """The error of what fails, checked to be one line and to have left nothing."""
        self.run_clock(started, seconds)
        error = self.failureResultOf(started, AcmeError).value
        self.assertEqual(str(error), error.text)
        self.assertTrue(
            error.text.isascii() and error.text.isprintable() and len(error.text) < 2500, error.text
        )
        self.assertEqual(self.solver.shown, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return error

    def posts(self, resource: str) -> list[Any]:
        """The payloads that a resource got."""
        return [payload for name, payload in self.directory.payloads if name == resource]
