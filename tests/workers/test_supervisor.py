"""The supervisor, with processes that exist only in the test."""

from __future__ import annotations

import socket

from twisted.internet.defer import fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.model.target_status import ShownTarget
from smartproxy.settings import Settings
from smartproxy.workers import slots
from smartproxy.workers.supervisor import Supervisor
from tests.workers.fake_processes import FakeForking, FakeLink, waiting


class FakeSupervisor(Supervisor):
    """A supervisor whose nurseries are :class:`FakeForking`.

    :ivar nurseries: all of them, in the order of their starts.
    """

    def _new_forking(self):
        if not hasattr(self, "nurseries"):
            self.nurseries = []
        self.nurseries.append(FakeForking(self._nursery_lost))
        return self.nurseries[-1]


class SupervisorCase(SynchronousTestCase):
    def setUp(self):
        self.patch(slots, "WorkerLink", FakeLink)
        self.reactor = MemoryReactorClock()
        route = {
            "name": "r",
            "match": {"ports": _free_port(), "address": "127.0.0.1"},
            "action": {"type": "block"},
        }
        self.written = {"workers": 2, "routes": [route], "gracefulShutdownTimeout": "1s"}
        self.supervise()

    def supervise(self, **more):
        """Make the supervisor, with ``more`` settings."""
        self.supervisor = FakeSupervisor(Settings.of(self.written | more), self.reactor)
        self.addCleanup(self.supervisor._held.close)
        self.addCleanup(self.supervisor._log_end.close)
        self.addCleanup(self.supervisor._log._end.close)
        self.addCleanup(self.supervisor._memory.close)

    def start(self):
        self.supervisor.startService()
        for hook, arguments, keywords in self.reactor.whenRunningHooks:
            hook(*arguments, **keywords)

    @property
    def links(self):
        return self.supervisor._slots.links

    @property
    def nurseries(self):
        return self.supervisor.nurseries


class ServingTests(SupervisorCase):
    def test_it_serves_while_a_worker_does(self):
        """Not before all have begun: the share of one that starts later would wait."""
        self.assertFalse(self.supervisor.serving)
        self.start()
        self.reactor.advance(1)
        self.assertTrue(self.supervisor.serving)
        self.supervisor._slots.serving = lambda: iter(())
        self.assertFalse(self.supervisor.serving)


class AccessLogTests(SupervisorCase):
    """One that cannot be opened is a problem of the configuration, as without workers."""

    said = "settings: accessLog.path: /nowhere/access.log: cannot be opened: No such file or directory"

    def test_at_the_start_it_is_reported_before_any_worker(self):
        self.supervise(accessLog={"path": "/nowhere/access.log"})
        raised = self.assertRaises(ConfigurationError, self.supervisor.privilegedStartService)
        self.assertEqual(raised.problems, [self.said])

    def test_in_a_reload_it_is_reported_with_its_key(self):
        self.start()
        changed = Settings.of(self.written | {"accessLog": {"path": "/nowhere/access.log"}})
        failed = self.failureResultOf(self.supervisor._configuration.change(lambda: changed))
        self.assertEqual(failed.value.problems, [self.said])


class NurseryTests(SupervisorCase):
    def test_one_that_has_ended_is_started_again(self):
        self.start()
        self.nurseries[0].end()
        self.reactor.advance(1)
        self.assertEqual(self.nurseries[1].asked, ["load"])
        self.assertIs(self.supervisor._slots.forking, self.nurseries[1])

    def test_one_that_ends_at_once_is_not_started_all_the_time(self):
        """With code that cannot be imported, each ends as soon as it is started."""
        self.start()
        self.nurseries[0].end()
        self.reactor.advance(1)
        self.nurseries[1].end()
        self.assertEqual(len(self.nurseries), 2)
        self.reactor.advance(1)
        self.assertEqual(len(self.nurseries), 3)

    def test_new_code_that_cannot_start_changes_nothing(self):
        self.start()
        loading = waiting()
        self.patch(FakeForking, "start", lambda forking: _start_and_wait(forking, loading))
        replacing = self.supervisor.replace_workers()
        self.nurseries[1].end(loading)
        self.failureResultOf(replacing, WorkerFailed)
        self.reactor.advance(10)
        self.assertIs(self.supervisor._slots.forking, self.nurseries[0])
        self.assertTrue(self.nurseries[0].is_running)
        self.assertFalse(self.nurseries[0].is_retired)
        self.assertEqual(len(self.nurseries), 2)

    def test_new_code_that_loads_and_cannot_serve_changes_nothing(self):
        """A worker that ends later is replaced by one with the code of before."""
        self.start()
        self.patch(FakeLink, "begin_answer", fail(WorkerFailed("it cannot")))
        self.failureResultOf(self.supervisor.replace_workers(), WorkerFailed)
        self.assertIs(self.supervisor._slots.forking, self.nurseries[0])
        self.assertEqual([one.is_retired for one in self.nurseries], [False, True])
        self.assertEqual(self.nurseries[0].asked[-1], "load")

    def test_the_one_of_before_ends_when_workers_are_replaced(self):
        self.start()
        self.successResultOf(self.supervisor.replace_workers())
        self.assertIs(self.supervisor._slots.forking, self.nurseries[1])
        self.assertEqual([one.is_retired for one in self.nurseries], [True, False])


class ChangeTests(SupervisorCase):
    def test_workers_are_started_while_a_configuration_is_read(self):
        """A file system that hangs must not keep a worker that has ended from being replaced."""
        self.start()
        read = waiting()
        self.supervisor._configuration._call = lambda _: read
        reloading = self.supervisor.reload()
        self.links[0].end()
        self.reactor.advance(0)
        self.assertEqual([link.doing for link in self.links], ["serving", "serving"])
        read.errback(ConfigurationError(["wrong"]))
        self.failureResultOf(reloading, ConfigurationError)


class ReplacedTests(SupervisorCase):
    def test_targets_are_shown_as_the_workers_have_them_that_serve(self):
        """Replaced ones may drain for hours, and know nothing of what has become of a target."""
        self.start()
        former = {link.generation for link in self.links}
        self.assertEqual(self.supervisor._control._draining(), set())
        self.successResultOf(self.supervisor.replace_workers())
        self.assertEqual(self.supervisor._control._draining(), former)


class DrainTests(SupervisorCase):
    def test_workers_of_a_proxy_that_drains_are_shown_as_draining(self):
        """They accept nothing, as those that are replaced, and as the one process without workers."""
        self.start()
        control = self.supervisor._control
        self.assertEqual([one["state"] for one in control.workers()], ["serving", "serving"])
        self.supervisor.drain()
        self.assertEqual([one["state"] for one in control.workers()], ["draining", "draining"])
        counts = dict(control._families()[0].rows)
        self.assertEqual((counts["serving",], counts["draining",]), (0, 2))


class LogTests(SupervisorCase):
    def test_workers_that_drain_reopen_the_access_log_too(self):
        """Else the lines of their last connections are written to the rotated file, which is compressed by then."""
        self.start()
        former, _ = self.links
        self.successResultOf(self.supervisor.replace_workers())
        self.assertIn(former, self.links)
        self.supervisor.reopen_logs()
        self.assertEqual([link.told.count("Reopen") for link in self.links], [1, 1, 1, 1])
        self.assertEqual(self.nurseries[-1].asked[-1], "reopen")

    def test_a_worker_that_has_not_begun_opens_the_access_log_once(self):
        """It may have only the descriptor that it was given, which is used once."""
        self.patch(FakeLink, "begin_answer", waiting())
        self.start()
        self.supervisor.reopen_logs()
        [link] = self.links
        self.assertNotIn("Reopen", link.told)


class AskedLink(FakeLink):
    """A worker whose questions the test answers.

    :ivar questions: the targets that were set, each with the answer to be given.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.questions = []

    async def ask(self, question, arguments):
        answer = waiting()
        self.questions.append((arguments["name"], arguments["changes"], answer))
        return await answer

    def answer(self, answered=("UnknownTarget", "there is none")):
        questions, self.questions = self.questions, []
        for _, _, answer in questions:
            answer.callback(answered)
        return [(name, changes) for name, changes, _ in questions]


class SetByHandTests(SupervisorCase):
    """What an operator sets of a target while a worker begins holds in that one, too."""

    def setUp(self):
        super().setUp()
        self.patch(slots, "WorkerLink", AskedLink)
        self.start()
        self.shown = "", ShownTarget("r", "a", "", "drain", "", True, 1, 0, False, 0, 0, 0, 0, None)

    def set(self, name, **changes):
        return self.supervisor._control.set_target("r", name, changes)

    def answer_all(self):
        for link in self.links:
            link.answer(self.shown)

    def begin(self):
        """A worker ends, and another one begins in its place."""
        self.links[0].end()
        self.reactor.advance(0)
        return self.links[-1]

    def test_what_others_have_not_answered_yet_is_set_in_a_worker_that_begins(self):
        setting = self.set("a", state="drain")
        self.links[0].answer(self.shown)
        begun = self.begin()
        self.assertEqual(begun.answer(self.shown), [("a", {"state": "drain"})])
        for _ in range(2):  # the question, and that to hold it where the target is not known yet
            self.answer_all()
        self.successResultOf(setting)
        self.assertEqual(begun.doing, "serving")

    def test_what_is_set_while_a_worker_is_told_of_others_is_set_there(self):
        for name in ("a", "b"):
            self.set(name, state="drain")
            self.answer_all()
        begun = self.begin()
        self.set("b", state="up")
        wanted = [("a", {"state": "drain"}), ("b", {"state": "drain"}), ("b", {"state": "up"})]
        self.assertEqual(begun.answer(self.shown), wanted)

    def test_what_was_refused_is_not_set_in_a_worker_that_begins(self):
        self.set("a", state="drain")
        self.answer_all()
        refused = self.set("a", state="dwon")
        for link in self.links:
            link.answer(("ValueError", "it must be something else"))
        self.failureResultOf(refused, ValueError)
        begun = self.begin()
        self.assertEqual(begun.answer(("UnknownTarget", "removed")), [("a", {"state": "drain"})])
        self.assertEqual(begun.doing, "serving")

    def test_a_worker_that_ends_before_it_has_answered_is_replaced(self):
        self.set("a", state="drain")
        self.answer_all()
        begun = self.begin()
        for _, _, answer in begun.questions:
            answer.errback(WorkerFailed("the other process has ended"))
        self.assertTrue(begun.has_ended)


class StartTests(SupervisorCase):
    def test_a_stop_during_the_start_is_no_failure(self):
        """twistd would exit with 1."""
        forking = self.nurseries[0]
        forking.answers = [succeed(None), waiting()]
        self.start()
        stopping = self.supervisor.stopService()
        [link] = self.links
        self.assertEqual(link.told, ["Stop"])
        link.end()
        forking.answers.clear()
        self.reactor.advance(1)
        self.successResultOf(stopping)
        self.assertNoResult(self.supervisor.begun)

    def test_a_worker_that_begins_during_a_drain_is_told(self):
        self.start()
        first = self.links[0]
        first.end()
        self.patch(FakeLink, "begin_answer", waiting())
        self.reactor.advance(0)
        self.supervisor.drain()
        FakeLink.begin_answer.callback(None)
        fresh = self.links[-1]
        self.assertEqual(fresh.told, ["Take", "Begin", "Drain"])


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _start_and_wait(forking, loading):
    forking.is_running = True
    forking.answers.append(loading)
