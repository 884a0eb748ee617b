"""Answers that speak against their target: it is left out for a time, as one that cannot be dialed is."""

from __future__ import annotations

from smartproxy import Route
from tests.http.case import GET, OK, POST, AnswerCase, parts

OTHER = "10.0.0.6"


class BadAnswerTests(AnswerCase):
    def setUp(self):
        super().setUp()
        self.other = self.network.backend(OTHER, 9000)
        self.route()

    def route(self, **more):
        targets = [
            {"name": "a", "host": "10.0.0.5", "port": 9000},
            {"name": "b", "host": OTHER, "port": 9000},
        ]
        self.network.stop(self.proxy)
        action = {"targets": targets, "protocol": "http", "load_balancing": {"algorithm": "first"}, **more}
        self.start(Route(name="web", match={"ports": 80}, action=action))

    def states(self):
        return {one.name: one.state for one in self.proxy.groups.targets("web")}

    def test_an_answer_that_is_no_http_ejects_the_target(self):
        for answer in (
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        ):
            client = self.connect(80, GET)
            self.assertEqual(self.states()["a"], "up")
            self.answer(answer)
            self.assertEqual(parts(client.received)[0], 502)
            self.assertEqual(self.states(), {"a": "ejected", "b": "up"})
            client.write(GET)
            self.network.settle()
            self.assertTrue(self.other.connections[-1].received.endswith(b"\r\n\r\n"))
            self.other.connections[-1].write(OK)
            self.network.settle()
            self.assertTrue(client.received.endswith(b"\r\n\r\nok"))
            self.proxy.groups.set_state("web", "a", "up")

    def test_a_new_connection_that_ends_before_its_answer_ejects_the_target(self):
        for end in ("fin", "rst"):
            client = self.connect(80, GET)
            getattr(self.backend.connections[-1], end)()
            self.network.settle()
            self.assertEqual(parts(client.received)[0], 502)
            self.assertEqual(self.states()["a"], "ejected")
            self.proxy.groups.set_state("web", "a", "up")

    def test_it_is_back_with_the_connection_that_tries_it_again(self):
        self.connect(80, GET)
        self.answer(b"rubbish\r\n")
        self.network.run(11)
        self.connect(80, GET)
        self.answer()
        self.assertEqual(self.states()["a"], "up")

    def test_other_ends_do_not_speak_against_it(self):
        """Nothing here is a 502 of the proxy's own making on a new connection."""
        client = self.connect(80, GET)
        client.rst()
        self.network.settle()
        for answer in (
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ):
            self.exchange(self.connect(), GET, answer)
        self.exchange(self.connect(), GET, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertEqual(self.states(), {"a": "up", "b": "up"})

    def test_a_connection_that_ends_within_a_request_does_not_either(self):
        """The target may not want the body, and any client can send one."""
        client = self.connect(80, POST + b"Content-Length: 9\r\n\r\nabc")
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertEqual(parts(client.received)[0], 502)
        self.assertEqual(self.states()["a"], "up")

    def test_an_idle_connection_that_is_closed_as_it_is_used_does_not_either(self):
        self.route(http={"retries": 0})
        client = self.connect()
        self.exchange(client)
        client.write(GET)
        self.network.settle()
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertIn(b"HTTP/1.1 502 ", client.received)
        self.assertEqual(self.states()["a"], "up")

    def test_passive_health_sets_how_many_it_takes_or_none(self):
        for passive, wanted in ((False, "up"), ({"failures": 2}, "ejected")):
            self.route(passive_health=passive)
            states = []
            for _ in range(2):
                self.connect(80, GET)
                self.answer(b"rubbish\r\n")
                states.append(self.states()["a"])
            self.assertEqual(states, ["up", wanted])
