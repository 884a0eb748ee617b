"""Questions of the supervisor: answered in the worker, and refusals raised where the question came from."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import NotAutomatic, UnknownCertificate, UnknownTarget
from smartproxy.workers.answers import answer, value_of
from tests.sessions.memory_proxy import MemoryProxy
from tests.workers.carried import exchange, pickled


class AnswerTests(SynchronousTestCase):
    def setUp(self):
        self.proxy = MemoryProxy(self)

    def ask(self, question, **arguments):
        answering = answer(self.proxy.service, self.proxy.network, question, arguments)
        return pickled(self.successResultOf(Deferred.fromCoroutine(answering)))

    def test_every_question_has_an_answer_that_can_be_pickled(self):
        exchange(self.proxy)
        (target,) = value_of(self.ask("targets", group="web"))
        self.assertEqual((target.name, target.received), ("10.0.0.1:9000", 3))
        self.assertEqual(value_of(self.ask("totals")), (3, 6))
        self.assertEqual(value_of(self.ask("status"))["connections"], 1)
        self.assertEqual(value_of(self.ask("peek", group="web", client=None)).targets, [target.name])
        live = value_of(self.ask("live", route="web", client="192.0.2.1", limit=5))
        self.assertEqual((live.total, live.shown[0]["bytesSent"]), (1, 6))
        drained = value_of(self.ask("set_target", group="web", name=target.name, changes={"state": "drain"}))
        self.assertEqual(drained.state, "drain")
        self.assertEqual(value_of(self.ask("certificates")), [])
        self.assertEqual(value_of(self.ask("snapshot"))["process"]["opened"], 1)
        self.assertTrue(value_of(self.ask("end_connection", number=1)))
        self.proxy.settle()
        self.assertFalse(value_of(self.ask("end_connection", number=1)))

    def test_refusals_are_raised_with_their_text(self):
        for error, question, arguments in (
            (UnknownTarget, "targets", {"group": "none"}),
            (UnknownTarget, "set_target", {"group": "web", "name": "none", "changes": {"weight": 1}}),
            (ValueError, "set_target", {"group": "web", "name": "none", "changes": {"state": "dwon"}}),
            (UnknownCertificate, "renew_certificate", {"name": "a.test"}),
        ):
            answered = self.ask(question, **arguments)
            raised = self.assertRaises(error, value_of, answered)
            self.assertIs(type(raised), error)
            self.assertEqual(str(raised), answered[1])
            self.assertGreater(len(str(raised)), 10)

    def test_a_refusal_keeps_the_most_precise_class(self):
        """NotAutomatic is a ValueError, too; the API answers them with different statuses."""

        def renew(_name):
            raise NotAutomatic("read from a.pem")

        self.patch(self.proxy.service, "renew_certificate", renew)
        raised = self.assertRaises(NotAutomatic, value_of, self.ask("renew_certificate", name="a.test"))
        self.assertEqual(str(raised), "read from a.pem")

    def test_an_unknown_question_is_an_error(self):
        for question in ("reload", "_set_target", "reading", ""):
            asking = Deferred.fromCoroutine(answer(self.proxy.service, self.proxy.network, question, {}))
            self.failureResultOf(asking, KeyError)

    def test_a_bug_is_no_answer(self):
        self.patch(self.proxy.service, "certificates", None)
        asking = Deferred.fromCoroutine(answer(self.proxy.service, self.proxy.network, "certificates", {}))
        self.failureResultOf(asking, TypeError)
