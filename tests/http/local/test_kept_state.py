"""What a reload does not change keeps its state: the sessions of resources, and the room of tarpits."""

from __future__ import annotations

import gc
import weakref

from smartproxy.serving.ready import block
from tests.http.case import http_route
from tests.http.local.case import LocalCase, local_route, request
from tests.http.local.test_resource import Page, ResourceCase


def count(asked):
    """Counts the requests of a session."""
    session = asked.getSession()
    session.count = getattr(session, "count", 0) + 1
    return str(session.count).encode()


def make_page():
    return Page(count)


class Maker:
    """Makes a resource by a method, which is another object whenever it is looked up."""

    def make(self):
        return Page(count)


class SessionTests(ResourceCase):
    def tearDown(self):
        self.network.run(2000)  # sessions expire
        super().tearDown()

    def begin(self, handler):
        """Begin a session; returns its cookie."""
        self.local(local_route(type="handler", handler=handler), http_route("other", 80))
        cookie = f"Cookie: {self.ask().set_cookie.split(';')[0]}\r\n"
        self.assertEqual(self.ask(more=cookie).body, b"2")
        return cookie

    def test_a_change_of_another_route_keeps_sessions(self):
        """Users would be logged out by any change of the configuration."""
        maker, page = Maker(), Page(count)
        for handler in (lambda: page, lambda: make_page, lambda: maker.make):
            cookie = self.begin(handler())
            for port, expected in ((82, b"3"), (83, b"4")):
                self.update(local_route(type="handler", handler=handler()), http_route("other", port))
                self.assertEqual(self.ask(more=cookie).body, expected)

    def test_a_callable_gives_another_resource_with_the_same_sessions(self):
        """It is called with the first request after each load."""
        made = []

        def make():
            made.append(1)
            number = len(made)
            return Page(lambda asked: b"%d:%b" % (number, count(asked)))

        self.local(local_route(type="handler", handler=make), http_route("other", 80))
        self.update(local_route(type="handler", handler=make), http_route("other", 82))
        cookie = f"Cookie: {self.ask().set_cookie.split(';')[0]}\r\n"
        self.assertEqual(self.ask(more=cookie).body, b"1:2")
        self.update(local_route(type="handler", handler=make), http_route("other", 83))
        self.assertEqual([self.ask(more=cookie).body for _ in range(2)], [b"2:3", b"2:4"])
        self.assertEqual(made, [1, 1])

    def test_another_resource_has_sessions_of_its_own(self):
        cookie = self.begin(Page(count))
        self.update(local_route(type="handler", handler=Page(count)))
        self.assertEqual(self.ask(more=cookie).body, b"1")

    def test_a_route_that_was_removed_begins_again(self):
        page = Page(count)
        cookie = self.begin(page)
        self.update(http_route("other", 80))
        self.update(local_route(type="handler", handler=page), http_route("other", 80))
        self.assertEqual(self.ask(more=cookie).body, b"1")

    def test_a_route_of_another_name_has_sessions_of_its_own(self):
        page = Page(count)
        cookie = self.begin(page)
        self.update(local_route("renamed", type="handler", handler=page))
        self.assertEqual(self.ask(more=cookie).body, b"1")

    def test_nothing_is_held_of_a_removed_route(self):
        self.begin(make_page)
        for port in (82, 83):
            self.update(local_route(type="handler", handler=make_page), http_route("other", port))
        site = weakref.ref(self.proxy._configuration.plan.by_name["local"].answers.made.site)
        former = weakref.ref(self.proxy._configuration.plan.by_name["local"].answers)
        self.update(local_route(type="handler", handler=make_page), http_route("other", 84))
        gc.collect()
        self.assertIsNone(former())
        self.assertIsNotNone(site())
        self.update(http_route("other", 80))
        self.network.run(2000)
        gc.collect()
        self.assertIsNone(site())


class TarpitTests(LocalCase):
    def routes(self, other, mode="tarpit"):
        return (
            local_route("ok", match={"path": "/ok"}, type="respond", response={"status": 200, "body": "x"}),
            local_route("tar", match={"path": "/tar"}, type="block", mode=mode),
            http_route(other, 80),
        )

    def waiting(self, count):
        """So many clients that ask for what is blocked; returns those that wait."""
        made = [self.connect(81, request("/ok")) for _ in range(count)]
        for client in made:
            client.write(request("/tar"))
        self.network.settle()
        return [client for client in made if b"403" not in client.received]

    def test_a_change_of_another_route_keeps_the_room_for_requests(self):
        self.local(*self.routes("a"))
        clients = self.waiting(202)
        self.assertEqual(len(clients), 200)
        self.update(*self.routes("b"))
        self.assertEqual(self.waiting(2), [])
        clients[0].rst()
        self.network.settle()
        self.assertEqual(len(self.waiting(2)), 1)

    def test_another_mode_begins_again(self):
        self.local(*self.routes("a"))
        self.waiting(200)
        self.update(*self.routes("a", mode="close"))
        self.update(*self.routes("a"))
        self.assertEqual(len(self.waiting(2)), 2)

    def test_a_change_of_another_route_keeps_the_room_for_connections(self):
        for action in (
            {"type": "block", "mode": "tarpit"},
            {"type": "handler", "handler": block("tarpit")},
        ):
            self.local(local_route(**action), http_route("a", 80))
            made = [self.connect(81) for _ in range(201)]
            for client in made:
                client.write(request())
            self.network.settle()
            self.assertEqual(sum(not client.ended for client in made), 200)
            self.update(local_route(**action), http_route("b", 80))
            client = self.connect(81, request())
            self.assertTrue(client.ended)

    def test_another_tarpit_of_a_handler_begins_again(self):
        for seconds, expected in ((30, False), (40, True)):
            self.local(local_route(type="handler", handler=block("tarpit", seconds=30, most=1)))
            self.connect(81, request())
            self.update(local_route(type="handler", handler=block("tarpit", seconds=seconds, most=1)))
            self.assertEqual(not self.connect(81, request()).ended, expected)
