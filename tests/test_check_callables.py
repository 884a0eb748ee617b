"""A check of a program: given to a proxy as it is documented, and what clients notice of it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from smartproxy import Action, CheckFailed, HealthCheck, Match, Route, Target
from tests.on_network import HOST, NetworkTestCase


class CheckCallableTests(NetworkTestCase):
    def start_checked(self, check, **more):
        """A proxy that checks its only target by ``check``, every second."""
        settings = HealthCheck(type=check, interval="1s", timeout="1s", fall=1, rise=1)
        targets = [Target(name="app", host=HOST, port=9000)]
        action = Action(targets=targets, health_check=settings, **more)
        self.start(Route(name="web", match=Match(ports=80), action=action))

    def shown(self):
        (target,) = self.proxy.groups.targets()
        return target.state, target.last_check and target.last_check.detail

    def test_its_answers_make_the_target_down_and_up(self):
        answers = ["lag 0 s", CheckFailed("lag 90 s"), CheckFailed("lag 80 s"), "lag 1 s"]
        seen = []

        async def check(target):
            seen.append(tuple(target))
            answer = answers[min(len(seen), len(answers)) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.start_checked(check)
        states = []
        while len(seen) < len(answers) + 1:
            self.network.run(0.1)
            if self.shown()[1] is not None and (not states or states[-1] != self.shown()):
                states.append(self.shown())
        self.assertEqual(
            states[:4], [("up", "lag 0 s"), ("down", "lag 90 s"), ("down", "lag 80 s"), ("up", "lag 1 s")]
        )
        self.assertEqual(set(seen), {("web", "app", HOST, 9000)})

    def test_sessions_end_where_configured(self):
        answers = []

        def check(_):
            if answers:
                raise ValueError(answers[0])

        self.start_checked(check, when_down="reset")
        client = self.connect(80, b"hello")
        self.assertFalse(client.gone)
        answers.append("no")
        self.network.run(2.5)
        self.assertTrue(client.gone)
        self.assertEqual(self.shown(), ("down", "ValueError: no"))

    def test_stopping_the_proxy_ends_a_check_in_progress(self):
        cancelled = []
        self.start_checked(lambda _: Deferred(cancelled.append))
        self.network.run(1.05)
        self.network.stop(self.proxy)
        self.assertLessEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])
