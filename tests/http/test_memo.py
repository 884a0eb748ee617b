"""Heads that are remembered: the same answers with it and without, and a bounded number."""

from __future__ import annotations

from smartproxy import Route
from smartproxy.http.memo import LONGEST, MOST, Memo
from smartproxy.wire.http_fields import Fields
from tests.builds import only_pure
from tests.http.case import GET, OK, HttpCase, http_route
from tests.on_network import HOST


class MemoTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.asked = []

    def parse(self, data):
        self.asked.append(data)
        return len(data)

    def test_what_is_known_is_not_parsed_again(self):
        memo = Memo(self.parse)
        self.assertEqual([memo[each] for each in (b"one", b"three", b"one", b"one", b"one")], [3, 5, 3, 3, 3])
        self.assertEqual(self.asked, [b"one", b"three", b"one"])

    def test_what_is_asked_for_once_is_not_remembered(self):
        memo = Memo(self.parse)
        for number in range(20_000):
            memo[b"%d" % number]
        self.assertEqual(len(memo), 0)

    def test_number_and_size_are_bounded(self):
        memo = Memo(self.parse)
        for number in range(3 * MOST):
            for _ in range(2):
                memo[b"%d" % number]
            self.assertLessEqual(len(memo), MOST)
        for _ in range(3):
            self.assertEqual(memo[b"x" * (LONGEST + 1)], LONGEST + 1)
        self.assertNotIn(b"x" * (LONGEST + 1), memo)

    def parsed(self, http, client_sends):
        """The fields of requests that are parsed while a client sends this to a route that is found by its path."""
        self.network.stop(self.proxy)
        self.start(http_route(http=http, path="/*"))
        blocks, parse = [], Fields.parse
        self.patch(Fields, "parse", staticmethod(lambda block: blocks.append(block) or parse(block)))
        client = self.connect()
        for data in client_sends:
            client.write(data)
            self.network.settle()
        self.answer()
        self.assertEqual(client.received, OK)
        return [block for block in blocks if block.startswith(b"Host")]

    @only_pure
    def test_head_that_detection_has_parsed_is_not_parsed_again(self):
        for sends in ((GET,), (GET[:9], GET[9:-2], GET[-2:])):
            self.assertEqual(self.parsed({"rememberHeads": False}, sends), [b"Host: a.test\r\n"])

    def test_detection_remembers_heads_where_routes_permit_it(self):
        self.parsed({}, (GET,))
        self.assertEqual(self.remembered(), [0, 0, 0])
        client = self.connect()
        client.write(GET)
        self.network.settle()
        self.assertEqual(self.remembered(), [1, 1, 0])

    def remembered(self):
        heads = self.proxy._runtime.http_heads
        return [len(known.__self__) for known in (heads.block_of, heads.line_of, heads.head_of)]

    def test_heads_are_remembered(self):
        client = self.connect()
        for _ in range(3):
            self.assertEqual(self.exchange(client), OK)
        self.assertEqual(self.remembered(), [1, 1, 1])

    def test_it_can_be_turned_off(self):
        self.start(http_route("forgetful", 81, http={"remember_heads": False}))
        client = self.connect(81)
        for _ in range(3):
            self.assertEqual(self.exchange(client), OK)
        self.assertEqual(self.remembered(), [0, 0, 0])

    def test_each_route_on_one_connection_to_a_target_has_its_own_setting(self):
        """Whichever of them has made the connection."""
        self.network.stop(self.proxy)
        routes = []
        for name, port, kept in (("kept", 80, True), ("private", 81, False)):
            action = {"group": "app", "protocol": "http", "http": {"remember_heads": kept}}
            routes.append(Route(name=name, match={"ports": port}, action=action))
        secret, known = (
            OK.replace(b"Content", b"Set-Cookie: %b\r\nContent" % name) for name in (b"secret", b"known")
        )
        for first in (80, 81):
            self.start(*routes, target_groups={"app": {"targets": [{"host": HOST, "port": 9000}]}})
            self.exchange(self.connect(first))
            for port, answer in ((80, known), (81, secret)) * 3:
                self.assertIn(b"Set-Cookie", self.exchange(self.connect(port), GET, answer))
            self.assertEqual(len(self.proxy._runtime.targets.pool), 1)
            heads = self.proxy._runtime.http_heads.head_of.__self__
            self.assertEqual(
                [known[: known.index(b"\r\n\r\n")]], [head for head in heads if b"Cookie" in head]
            )
            self.network.stop(self.proxy)

    def test_malformed_heads_are_refused_each_time(self):
        for _ in range(3):
            client = self.connect(80, GET.replace(b"Host:", b"Host :"))
            self.assertEqual(client.received[9:12], b"400")
