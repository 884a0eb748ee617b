"""``/api/v1/targets``: what state targets are in, and setting it by hand."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import GroupPlan, MatchPlan, RoutePlan, TargetPlan
from smartproxy.model.target_status import ShownCheck
from tests.admin.doubles import FakeControl, Listener

TARGETS = (
    TargetPlan(("10.0.0.1",), 9000, name="one", weight=2),
    TargetPlan(("2001:db8::2",), None, backup=True),
)
WEB = RoutePlan("web", 0, MatchPlan((range(443, 444),)), group=GroupPlan("a/b", TARGETS))


class TargetsTests(SynchronousTestCase):
    def setUp(self):
        self.control = FakeControl(WEB)
        self.listener = Listener(self.control)

    def put(self, body, path="/api/v1/targets/a%2Fb/one"):
        written = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.listener.ask("PUT", path, body=written)

    def shown(self):
        return self.listener.get("/api/v1/targets").json()["targets"]

    def test_every_target_is_shown(self):
        one, other = self.shown()
        self.assertEqual(
            one,
            {
                "group": "a/b", "name": "one", "address": "10.0.0.1:9000", "state": "up", "why": None,
                "setByHand": False, "weight": 2, "effectiveWeight": 2, "backup": False, "connections": 0, "queued": 0, "bytesReceived": 0, "bytesSent": 0,
                "lastCheck": None,
            },
        )  # fmt: skip
        self.assertEqual((other["name"], other["address"]), ("[2001:db8::2]:preserve",) * 2)
        self.assertEqual((other["backup"], other["effectiveWeight"]), (True, 0))

    def test_connections_checks_and_bytes_are_those_of_the_target(self):
        group = self.control.groups._groups.find("a/b")
        candidate = group.take("192.0.2.1")
        candidate.member.last_check = ShownCheck(1767323045.678, True, "connected")
        candidate.member.received = 100
        record = self.control.connect(received=5, sent=7)
        record.member = candidate.member
        one, _ = self.shown()
        self.assertEqual((one["connections"], one["bytesReceived"], one["bytesSent"]), (1, 105, 7))
        self.assertEqual(
            one["lastCheck"], {"at": "2026-01-02T03:04:05.678Z", "ok": True, "detail": "connected"}
        )

    def test_one_group_is_selected(self):
        self.assertEqual(len(self.listener.get("/api/v1/targets?group=a/b").json()["targets"]), 2)
        self.assertEqual(self.listener.get("/api/v1/targets?group=b").status, 404)

    def test_a_group_says_what_its_next_connection_would_get(self):
        def following(query=""):
            return self.listener.get(f"/api/v1/targets?group=a/b{query}").json()["next"]

        for _ in range(2):
            self.assertEqual(following("&clientIp=192.0.2.1"), {"outcome": "target", "targets": ["one"]})
        self.put({"state": "drain"})
        self.assertEqual(following(), {"outcome": "target", "targets": ["[2001:db8::2]:preserve"]})
        self.control.groups.set_state("a/b", "[2001:db8::2]:preserve", "down")
        self.assertEqual(following(), {"outcome": "no_target", "targets": []})
        self.assertNotIn("next", self.listener.get("/api/v1/targets").json())
        for query in ("?clientIp=192.0.2.1", "?group=a/b&clientIp=nonsense"):
            self.assertEqual(self.listener.get(f"/api/v1/targets{query}").status, 400)

    def test_drain_and_up(self):
        answer = self.put({"state": "drain"})
        self.assertEqual(
            (answer.status, answer.json()["state"], answer.json()["setByHand"]), (200, "drain", True)
        )
        self.assertEqual(self.shown()[0]["effectiveWeight"], 0)
        self.assertEqual(self.put({"state": "up"}).json()["state"], "up")
        self.assertFalse(self.shown()[0]["setByHand"])

    def test_weight_and_its_reset(self):
        answer = self.put({"weight": 7})
        self.assertEqual((answer.json()["weight"], answer.json()["setByHand"]), (7, True))
        answer = self.put({"weight": None})
        self.assertEqual((answer.json()["weight"], answer.json()["setByHand"]), (2, False))

    def test_unknown_group_or_target_is_404(self):
        for path in ("/api/v1/targets/web/one", "/api/v1/targets/a%2Fb/two"):
            self.assertEqual(self.put({"state": "down"}, path).status, 404)

    def test_an_unknown_name_is_answered_with_those_there_are(self):
        for path, said in (
            ("/api/v1/targets/web/one", "there is no group 'web'; there is a/b"),
            (
                "/api/v1/targets/a%2Fb/on%C3%A9",
                "there is no target 'on\\xe9' in group 'a/b'; it has one, [2001:db8::2]:preserve",
            ),
        ):
            self.assertEqual(self.put({"state": "down"}, path).json(), {"error": said})
        self.assertEqual(
            self.listener.get("/api/v1/targets?group=ab").json()["error"],
            "there is no group 'ab'; there is a/b",
        )

    def test_many_names_are_listed_in_part_and_the_nearest_first(self):
        hosts = tuple(f"10.0.0.{number}" for number in range(60))
        self.control.groups._groups.apply({"app": GroupPlan("app", (TargetPlan(hosts, 80),))})
        said = self.put({"state": "down"}, "/api/v1/targets/app/10.0.0.58:8").json()["error"]
        self.assertRegex(said, r"it has 10\.0\.0\.58:80, (\S+, ){8}\S+ and 50 more$")

    def test_why_a_target_is_not_up_is_shown(self):
        group = self.control.groups._groups.find("a/b")
        member = group.candidates[0].member
        group.failed(group.take("x"), "refused", "10.0.0.1:9000: Connection refused")
        self.assertEqual(
            (self.shown()[0]["state"], self.shown()[0]["why"]),
            ("ejected", "10.0.0.1:9000: Connection refused"),
        )
        member.last_check = ShownCheck(0.0, False, "no answer in 2 s")
        member.check(passed=False, now=0.0)
        self.assertEqual((self.shown()[0]["state"], self.shown()[0]["why"]), ("down", "no answer in 2 s"))
        member.last_check = ShownCheck(0.0, True, "connected")
        self.assertEqual(self.shown()[0]["why"], "its checks have failed")
        self.put({"state": "drain"})
        self.assertEqual((self.shown()[0]["state"], self.shown()[0]["why"]), ("drain", "set by hand"))

    def test_groups_are_in_the_order_of_the_configuration(self):
        plans = {name: GroupPlan(name, TARGETS) for name in ("first", "a/b", "last")}
        self.control.groups._groups.apply(plans)
        self.assertEqual(self.control.groups.names(), ["first", "a/b", "last"])

    def test_a_bad_body_is_422_and_changes_nothing(self):
        for body in (
            b"", b"{", b"[" * 100_000, [], {}, {"state": "dwon"}, {"state": None}, {"weight": -1}, {"weight": 1001},
            {"weight": True}, {"weight": "3"}, {"weight": 1.5}, {"state": "down", "more": 1},
            {"state": "down", "weight": -1}, {"state": "dwon", "weight": 3},
        ):  # fmt: skip
            self.assertEqual(self.put(body).status, 422, body)
        self.assertFalse(self.shown()[0]["setByHand"])

    def test_state_and_weight_are_set_together(self):
        answer = self.put({"state": "drain", "weight": 5})
        shown = answer.json()
        self.assertEqual((answer.status, shown["state"], shown["weight"]), (200, "drain", 5))
        self.assertEqual(self.put({"state": "up"}).json()["setByHand"], True)  # the weight still is
        self.assertEqual(self.put({"weight": None}).json()["setByHand"], False)

    def test_weights_from_0_to_1000_are_taken(self):
        for weight in (0, 1, 1000):
            shown = self.put({"weight": weight}).json()
            self.assertEqual(
                (shown["weight"], shown["effectiveWeight"], shown["state"]), (weight, weight, "up")
            )

    def test_unknown_target_with_a_bad_body_is_422(self):
        self.assertEqual(self.put({"state": "dwon"}, "/api/v1/targets/web/none").status, 422)

    def test_answers_say_what_is_wrong(self):
        for body, words in (
            ({"state": "dwon"}, 'state must be "up", "drain" or "down"'),
            ({"weight": 1001}, "weight must be 0..1000"),
            ({"weights": 1}, 'the body must be an object with "state", "weight" or both'),
            (b"state=down", "the body must be JSON"),
        ):
            self.assertIn(words, self.put(body).json()["error"])
        self.assertEqual(
            self.put({"state": "up"}, "/api/v1/targets/web/none").json()["error"],
            "there is no group 'web'; there is a/b",
        )

    def test_other_methods_are_405(self):
        self.assertEqual(self.listener.get("/api/v1/targets/a%2Fb/one").status, 405)

    def test_changes_are_reported(self):
        seen = []
        self.control.groups.on_change.append(
            lambda target, before: seen.append((target.name, before, target.state))
        )
        self.control.groups.on_change.append(lambda target, before: 1 / 0)
        self.put({"state": "down"})
        self.put({"weight": 3})
        self.put({"state": "up"})
        self.assertEqual(seen, [("one", "up", "down"), ("one", "down", "up")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
