"""Answers of dns-01: what a command or a callable is given, and every way in which it can end."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.dns import GRACE, MAX_LINES, MAX_OUTPUT, TIMEOUT, DnsSolver
from smartproxy.acme.interfaces import Challenge
from smartproxy.errors import AcmeError
from smartproxy.model.plan import ChallengeType
from tests.acme.directory import dns_value

CHALLENGE = Challenge(ChallengeType.DNS_01, "a.example", "token", "token.thumbprint")
NAME, VALUE = "_acme-challenge.a.example.", dns_value("token.thumbprint")
#: A program that exists, and is not run.
PROGRAM = "/bin/sh"


class ProcessReactor(Clock):
    """Starts processes that do what a test says.

    :ivar signals: those that were sent.
    :ivar fails: raised when a process is started, or ``None``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []
        self.signals: list[str] = []
        self.fails: Exception | None = None
        self.has_stdin = True
        self.has_output = True
        self.has_exited = False

    def spawnProcess(self, protocol: Any, path: bytes, arguments: list[bytes], env: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.started.append((path, arguments, env))
        self.protocol = protocol
        protocol.makeConnection(self)

    def closeStdin(self) -> None:
        self.has_stdin = False

    def loseConnection(self) -> None:
        self.has_output = False
        if self.has_exited:
            self.protocol.processEnded(self.how)

    def signalProcess(self, name: str) -> None:
        if self.has_exited:
            raise ProcessExitedAlready
        self.signals.append(name)

    def says(self, output: bytes) -> None:
        self.protocol.childDataReceived(1, output)

    def ends(self, code: int = 0, signal: int | None = None, *, with_output: bool = True) -> None:
        self.how = Failure(ProcessTerminated(code, signal) if code or signal else ProcessDone(0))
        self.has_exited = True
        self.protocol.processExited(self.how)
        if with_output:
            self.protocol.processEnded(self.how)


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()

    def present(self, path: str = PROGRAM) -> Deferred[None]:
        return Deferred.fromCoroutine(DnsSolver(path, self.reactor).present(CHALLENGE))

    def failed(self, started: Deferred[None]) -> str:
        text = self.failureResultOf(started, AcmeError).value.text
        self.assertTrue(text.isascii() and text.isprintable())
        return text

    def test_a_command_gets_action_name_and_value(self) -> None:
        """The name has its final dot; the environment is that of the proxy, where credentials are."""
        started = self.present()
        self.assertNoResult(started)
        self.reactor.ends()
        self.successResultOf(started)
        cleaning = Deferred.fromCoroutine(DnsSolver(PROGRAM, self.reactor).cleanup(CHALLENGE))
        self.reactor.ends()
        self.successResultOf(cleaning)
        for (path, arguments, env), action in zip(
            self.reactor.started, (b"present", b"cleanup"), strict=True
        ):
            self.assertEqual(arguments, [path, action, NAME.encode(), VALUE.encode()])
            self.assertEqual((path, env), (PROGRAM.encode(), None))
        self.assertFalse(self.reactor.has_stdin)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_an_exit_code_fails_with_the_last_line(self) -> None:
        """That is where programs say what was wrong."""
        started = self.present()
        self.reactor.says(b"asking the provider\n")
        self.reactor.says(b"403: bad\x1b[31m token\n\n")
        self.reactor.ends(3)
        self.assertEqual(
            self.failed(started), f"/bin/sh present {NAME} exited with 3: 403: bad\\x1b[31m token"
        )

    def test_a_signal_is_named(self) -> None:
        """As that of the kernel when memory is short."""
        started = self.present()
        self.reactor.ends(signal=9)
        self.assertEqual(self.failed(started), f"/bin/sh present {NAME} was ended by signal 9")

    def test_output_is_logged_by_line_and_bounded(self) -> None:
        """A command in an endless loop must not fill memory or disk."""
        started = self.present()
        with capturedLogs() as events:
            for _ in range(MAX_OUTPUT // 5):
                self.reactor.says(b"0123456789\n")
            self.reactor.ends()
        self.successResultOf(started)
        self.assertEqual(len(self.reactor.protocol._output), MAX_OUTPUT)
        self.assertEqual(len(events), MAX_LINES)
        self.assertEqual(events[0]["log_level"], LogLevel.info)
        self.assertEqual(events[0]["line"], "0123456789")

    def test_one_that_takes_too_long_is_ended(self) -> None:
        """First asked to end, then killed: a hook may ignore SIGTERM."""
        started = self.present()
        self.reactor.advance(TIMEOUT)
        self.assertIn("has not ended within 120 s", self.failed(started))
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.reactor.advance(GRACE)
        self.assertEqual(self.reactor.signals, ["TERM", "KILL"])
        self.reactor.ends(signal=9)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_cancel_ends_it_and_one_that_obeys_is_not_killed(self) -> None:
        """No timer is left that would signal another process with the same number."""
        started = self.present()
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.reactor.ends(signal=15)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_output_held_by_a_child_is_not_waited_for(self) -> None:
        """A script that starts a daemon has ended all the same."""
        started = self.present()
        self.reactor.ends(with_output=False)
        self.assertNoResult(started)
        self.reactor.advance(GRACE)
        self.successResultOf(started)
        self.assertFalse(self.reactor.has_output)

    def test_a_cancel_after_its_end_closes_the_output(self) -> None:
        """There is no process to signal any more, and its pipes must not stay open."""
        started = self.present()
        self.reactor.ends(with_output=False)
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.reactor.advance(GRACE)
        self.assertEqual((self.reactor.signals, self.reactor.has_output), ([], False))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_cannot_be_run_says_where_it_is_configured(self) -> None:
        """A path with a typing error is the first mistake."""
        self.assertIn("check acme.dns.command", self.failed(self.present("/nonexistent/hook")))
        self.reactor.fails = OSError(12, "Cannot allocate memory")
        self.assertIn("could not be started: Cannot allocate memory", self.failed(self.present()))

    def test_script_without_an_interpreter_says_what_it_needs(self) -> None:
        for number in (errno.ENOEXEC, errno.ENOENT):
            self.reactor.fails = OSError(number, os.strerror(number))
            failed = self.failed(self.present())
            self.assertIn(f"{os.strerror(number)}; its first line must name an interpreter", failed)


class CallableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.called: list[Any] = []

    def start(self, answer: Any, action: str = "present") -> Deferred[None]:
        def change(*arguments: str) -> Any:
            self.called.append(arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Deferred.fromCoroutine(getattr(DnsSolver(change, self.clock), action)(CHALLENGE))

    def test_a_callable_gets_action_name_and_value(self) -> None:
        """The same three as a command."""
        self.successResultOf(self.start(None))
        self.successResultOf(self.start(None, "cleanup"))
        self.assertEqual(self.called, [("present", NAME, VALUE), ("cleanup", NAME, VALUE)])

    def test_an_awaitable_is_waited_for(self) -> None:
        """A Deferred or a coroutine: the record can be read when it ends."""
        answer: Deferred[None] = Deferred()

        async def change() -> None:
            await answer

        for each in (answer, change()):
            started = self.start(each)
            self.assertNoResult(started)
        answer.callback(None)
        self.successResultOf(started)

    def test_a_future_of_asyncio_is_waited_for(self) -> None:
        """Many libraries of DNS providers use asyncio."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()
        started = self.start(future)
        self.assertNoResult(started)
        future.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
        self.successResultOf(started)

    def test_an_exception_is_an_error_in_one_line(self) -> None:
        """It becomes the last error of the certificate in the admin API."""
        answer: Deferred[None] = Deferred()
        later = self.start(answer)
        answer.errback(ValueError("no\nzone"))
        for started in (self.start(ValueError("no\nzone")), later):
            text = self.failureResultOf(started, AcmeError).value.text
            self.assertEqual(text, f"acme.dns.handler for present of {NAME} failed: ValueError: no\\nzone")

    def test_one_that_does_not_answer_ends_in_time(self) -> None:
        """The order must end, so that it can be tried again."""
        started = self.start(Deferred())
        self.clock.advance(TIMEOUT)
        self.assertIn("has not answered within 120 s", self.failureResultOf(started, AcmeError).value.text)

    def test_a_cancel_ends_it(self) -> None:
        """It is no failure of the callable."""
        started = self.start(Deferred())
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ChallengeTests(SynchronousTestCase):
    def test_digest_and_dns_value_are_of_the_key_authorization(self) -> None:
        """RFC 8555, 8.4, and RFC 8737, 3: the same digest, for two places."""
        self.assertEqual(len(CHALLENGE.digest), 32)
        self.assertEqual(CHALLENGE.dns_value, VALUE)
