"""Which route a request gets: the one that it would get on a connection of its own, whatever was asked for before it."""

from __future__ import annotations

from smartproxy import Route, Settings, http_respond
from tests.http.case import parts
from tests.on_network import NetworkTestCase
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client


def saying(text, *, match=None, **more):
    """A route that answers with its name."""
    action = {"type": "respond", "protocol": "http", "response": {"body": text}}
    return Route(name=text, match={"ports": 80, **(match or {})}, action=action, **more)


def asking(path, host="a.test"):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def body(received):
    return bytes(received).rpartition(b"\r\n\r\n")[2]


class SilentClientTests(NetworkTestCase):
    """A route with ``silence`` beside routes by path: what is remembered by path must not be that of silent clients."""

    def setUp(self):
        super().setUp()
        self.start(
            saying("api", match={"path": "/api"}, security={"ip_allow_list": ["192.0.2.0/24"]}),
            saying("silent", fallback=True, silence="3s"),
        )

    def silent(self):
        waiting = self.connect(client=("192.0.2.1", 1000))
        self.network.run(4)
        waiting.write(asking("/api"))
        self.network.settle()
        return waiting

    def test_a_silent_client_does_not_change_the_route_of_the_next_clients(self):
        self.silent()
        later = self.connect(said=asking("/api"), client=("192.0.2.2", 1000))
        self.assertEqual(body(later.received), b"api")

    def test_a_silent_client_goes_to_the_fallback_whatever_others_have_asked_for(self):
        self.connect(said=asking("/api"), client=("192.0.2.2", 1000))
        self.assertEqual(body(self.silent().received), b"silent")


class AddressRouteTests(TlsTestCase):
    """Routes whose domain is an address, for HTTP within TLS."""

    def saying(self, name, *, tls=None, domain="192.0.2.1", more=None, **match):
        tls = {"mode": "terminate", "certificate": self.shared, **(tls or {})}
        action = {"type": "respond", "protocol": "http", "response": {"body": name}, "tls": tls}
        return {
            "name": name,
            "match": {"ports": 443, "domains": [domain], **match},
            "action": action,
            **(more or {}),
        }

    @property
    def shared(self):
        if not hasattr(self, "_shared"):
            self._shared = self.pem("192.0.2.1", "a.example")
        return self._shared

    def to_address(self):
        end = self.within(self.network.connect(443, "192.0.2.1"), client(self.authority, None))
        self.settle()
        return end

    def said(self, end, path, host="192.0.2.1"):
        before = len(end.received)
        end.write(asking(path, host))
        self.settle()
        return body(end.received[before:])

    def test_requests_of_a_client_that_connects_to_an_address(self):
        self.start(self.saying("api", path="/api"), self.saying("rest"))
        end = self.to_address()
        self.assertEqual([self.said(end, path) for path in ("/api", "/", "/api")], [b"api", b"rest", b"api"])

    def test_fallback_does_not_take_the_requests_of_the_route_with_the_address(self):
        self.start(
            self.saying("own"),
            self.saying("named", domain="a.example", more={"fallback": True}),
            self.saying("api", domain="a.example", path="/api"),
        )
        self.assertEqual(self.said(self.to_address(), "/"), b"own")


class MisdirectedTests(TlsTestCase):
    def test_host_with_other_client_certificates_is_refused_for_a_later_request_too(self):
        """A target may go by Host alone, and decode a path as the route does not: what guards the host guards all of its paths."""
        shared = self.pem("a.example", "b.example")

        def answering(name, domain, path, **tls):
            tls = {"mode": "terminate", "certificate": shared, **tls}
            action = {"type": "respond", "protocol": "http", "response": {"body": name}, "tls": tls}
            return {
                "name": name,
                "match": {"ports": 443, "domains": [domain], **path},
                "action": action,
            }

        auth = {"mode": "require", "ca": self.ca}
        self.start(
            answering("public", "a.example", {}),
            answering("api", "a.example", {"path": "/api/*"}),
            answering("secure", "b.example", {"path": "/admin/*"}, clientAuth=auth),
        )
        statuses = []
        for before in (b"", asking("/", "a.example")):
            end = self.connect()
            end.write(before)
            self.settle()
            at = len(end.received)
            end.write(asking("/x", "b.example"))
            self.settle()
            statuses.append(bytes(end.received[at:])[9:12])
        self.assertEqual(statuses, [b"421", b"421"])


class ManyNamesCase(TlsTestCase):
    @property
    def certificate(self):
        if not hasattr(self, "_certificate"):
            self._certificate = self.pem("a.example", "b.example", "192.0.2.1")
        return self._certificate

    def saying(self, name, *, tls=None, match=None, **more):
        """A route that answers with its name."""
        tls = {"mode": "terminate", "certificate": self.certificate} | (tls or {})
        action = {"type": "respond", "protocol": "http", "response": {"body": name}, "tls": tls}
        return {"name": name, "match": {"ports": 443, **(match or {})}, "action": action, **more}

    def said(self, end, path="/", host="a.example"):
        before = len(end.received)
        end.write(asking(path, host))
        self.settle()
        head, _, body = bytes(end.received[before:]).partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else None, body.decode()


class PlainOnTlsTests(ManyNamesCase):
    def plain(self, text):
        return {"type": "respond", "protocol": "http", "response": {"body": text}}

    def test_later_plain_request_to_a_route_that_terminates_tls(self):
        auth = {"clientAuth": {"mode": "require", "ca": self.ca}}
        self.start(
            {"name": "public", "match": {"ports": 443}, "action": self.plain("public")},
            self.saying("secret", match={"path": "/secret"}, tls=auth),
        )
        first = self.network.connect(443)
        first.write(asking("/secret"))
        self.settle()
        self.assertEqual(parts(first.received)[0], 400)
        kept = self.network.connect(443)
        kept.write(asking("/"))
        self.settle()
        self.assertEqual(parts(kept.received)[2], b"public")
        answered = len(kept.received)
        kept.write(asking("/secret"))
        self.settle()
        status, _, body = parts(kept.received[answered:])
        self.assertNotEqual((status, body), (200, b"secret"))


class ChosenHandlerTests(ManyNamesCase):
    def begin(self, *, tls):
        """Requests of one connection: for a route whose callable chooses a handler of requests, and for another one."""

        def choose(_facts):
            return http_respond(b"app")

        app = {"type": "handler", "handler": choose}
        api = self.saying("api", match={"path": "/api/*"})
        if tls:
            app["tls"] = api["action"]["tls"]
        else:
            del api["action"]["tls"]
        app = Route(name="app", match={"ports": 443}, action=app)
        self.proxy = self.network.start(Settings(routes=[app, Route.model_validate(api)], acceleration="off"))
        self.addCleanup(self.network.stop, self.proxy)
        end = self.connect() if tls else self.network.connect(443)
        return [self.said(end, path)[1] for path in ("/", "/api/1", "/")]

    def test_later_request_within_tls_for_another_route(self):
        self.assertEqual(self.begin(tls=False), ["app", "api", "app"])
        self.network.stop(self.proxy)
        self.assertEqual(self.begin(tls=True), ["app", "api", "app"])
