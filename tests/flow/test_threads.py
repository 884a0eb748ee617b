"""Threads for slow functions: how many run at once, and that nothing waits for one that does not return."""

from __future__ import annotations

import threading
from queue import Queue

from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.flow import threads
from smartproxy.flow.threads import DaemonThreads, call_here, thread_for

#: Seconds after which a test fails instead of blocking for ever.
PATIENCE = 30.0


@implementer(IReactorThreads, IReactorFromThreads)
class ThreadedClock(Clock):
    """A clock whose threads report to the test: :meth:`turn` waits for one report."""

    def __init__(self):
        super().__init__()
        self.reports = Queue()

    def callFromThread(self, call, *args, **kwargs):
        self.reports.put((call, args, kwargs))

    def turn(self, reports=1):
        for _ in range(reports):
            call, args, kwargs = self.reports.get(timeout=PATIENCE)
            call(*args, **kwargs)


class DaemonThreadsTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = ThreadedClock()
        self.threads = DaemonThreads(self.reactor, "smartproxy-test", 2)

    def call(self, function, *args):
        return deferToThreadPool(self.reactor, self.threads, function, *args)

    def blocked(self):
        """A function that blocks until the test ends, and who waits for it."""
        released = threading.Event()
        self.addCleanup(released.set)
        return self.call(released.wait, PATIENCE), released

    def test_a_result_and_an_exception_are_returned(self):
        result, failure = self.call(divmod, 7, 2), self.call(divmod, 7, 0)
        self.reactor.turn(4)
        self.assertEqual(self.successResultOf(result), (3, 1))
        self.failureResultOf(failure, ZeroDivisionError)

    def test_it_runs_outside_of_the_reactors_thread_in_a_daemon(self):
        """A daemon: the process ends without it."""
        result = self.call(threading.current_thread)
        self.reactor.turn(2)
        thread = self.successResultOf(result)
        self.assertIsNot(thread, threading.current_thread())
        self.assertEqual((thread.daemon, thread.name), (True, "smartproxy-test"))

    def test_those_beyond_the_limit_wait_in_order(self):
        first, released = self.blocked()
        self.blocked()
        order = []
        waiting = [self.call(order.append, number) for number in range(3)]
        self.assertEqual(order, [])
        released.set()
        self.reactor.turn(8)
        self.assertTrue(self.successResultOf(first))
        self.assertEqual((order, [self.successResultOf(one) for one in waiting]), ([0, 1, 2], [None] * 3))

    def test_a_system_without_another_thread_fails_that_call_only(self):
        class NoThread:
            def __init__(self, **_):
                pass

            def start(self):
                raise RuntimeError("can't start new thread")

        self.patch(threads, "Thread", NoThread)
        failed = self.call(int)
        self.reactor.turn()
        self.failureResultOf(failed, OSError)
        self.patch(threads, "Thread", threading.Thread)
        result = self.call(int)
        self.reactor.turn(2)
        self.assertEqual(self.successResultOf(result), 0)


class ThreadForTests(SynchronousTestCase):
    def test_each_purpose_has_one_thread_of_its_own(self):
        """A file system that hangs under one purpose does not delay another."""
        reactor = ThreadedClock()
        released = threading.Event()
        self.addCleanup(released.set)
        files, other = thread_for("files", reactor), thread_for("other", reactor)
        hanging, behind, beside = files(lambda: released.wait(PATIENCE)), files(int), other(int)
        reactor.turn(2)
        self.assertEqual(self.successResultOf(beside), 0)
        self.assertNoResult(behind)
        released.set()
        reactor.turn(4)
        self.assertEqual((self.successResultOf(hanging), self.successResultOf(behind)), (True, 0))

    def test_a_reactor_without_threads_calls_directly(self):
        self.assertIs(thread_for("files", Clock()), call_here)
        self.assertEqual(self.successResultOf(call_here(int)), 0)
        self.failureResultOf(call_here(lambda: 1 // 0), ZeroDivisionError)
