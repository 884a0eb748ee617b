"""Rules for the fields of requests and answers (``action.headers``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Route
from smartproxy.http.header_rules import HeaderRules
from smartproxy.http.templates import compiled
from tests.http.case import GET, OK, SWITCHED, UPGRADE, HttpCase, http_route
from tests.http.made import certified, exchange
from tests.on_network import HOST
from tests.routing.made import route


def rules(set_=None, add=None, remove=(), *, path=None, of_requests=True):
    made = [{name: compiled(value, path) for name, value in (values or {}).items()} for values in (set_, add)]
    return HeaderRules(*made, list(remove), of_requests=of_requests)


class RuleTests(SynchronousTestCase):
    def check(self, given, sent, expected, exchanged=None):
        self.assertEqual(given(sent, exchanged or exchange()), expected)

    def test_set_replaces_every_occurrence_in_any_case(self):
        sent = b"X-Env: a\r\nA: 1\r\nx-env: b\r\nX-ENV:\r\nX-Env2: c\r\nB: X-Env: d\r\n"
        self.check(rules({"x-Env": "prod"}), sent, b"A: 1\r\nX-Env2: c\r\nB: X-Env: d\r\nx-Env: prod\r\n")

    def test_add_keeps_the_others(self):
        self.check(rules(None, {"X-A": "2"}), b"X-A: 1\r\n", b"X-A: 1\r\nX-A: 2\r\n")
        self.check(rules({"X-A": "1"}, {"X-A": "2"}), b"X-A: 0\r\n", b"X-A: 1\r\nX-A: 2\r\n")

    def test_remove_is_exact(self):
        sent = b"X-Debug: 1\r\nX-Debug-Id: 2\r\nX-debug: 3\r\n"
        self.check(rules(remove=["X-Debug"]), sent, b"X-Debug-Id: 2\r\n")

    def test_other_spellings_of_a_name_are_removed_from_requests(self):
        """CGI and WSGI give X_User and X-User the same variable."""
        sent = b"X_User: a\r\nx.uSER: b\r\nX-User: c\r\nXUser: d\r\nX--User: e\r\n"
        self.check(rules({"X-User": "me"}), sent, b"XUser: d\r\nX--User: e\r\nX-User: me\r\n")
        self.check(rules(remove=["X_User"]), sent, b"XUser: d\r\nX--User: e\r\n")
        self.check(rules(None, {"X-User": "me"}), b"X_User: a\r\n", b"X_User: a\r\nX-User: me\r\n")

    def test_other_spellings_stay_in_answers(self):
        given = rules(remove=["X-User"], of_requests=False)
        self.check(given, b"X_User: a\r\nX-User: c\r\n", b"X_User: a\r\n")

    def test_names_are_no_patterns(self):
        given = rules({"X.*": "1", "A|B": "2"}, of_requests=False)
        self.check(given, b"X-Y: 0\r\nA: 0\r\nX.*: 0\r\n", b"X-Y: 0\r\nA: 0\r\nX.*: 1\r\nA|B: 2\r\n")

    def test_values_may_depend_on_the_request(self):
        given = rules({"X-Client": "{client.ip}", "X-Const": "c"}, {"X-User": "u-{user}"}, path="/:user")
        self.check(
            given, b"X-Client: 1\r\n", b"X-Client: 192.0.2.1\r\nX-Const: c\r\nX-User: u-7\r\n",
            exchange("/7", pattern="/:user"),
        )  # fmt: skip

    def test_no_field_is_sent_for_an_empty_value(self):
        """A target that looks for the field must not find it, and must not find that of the client either."""
        given = rules({"X-Cert": "{tls.clientCertificate}"})
        self.check(given, b"x-cert: admin\r\n", b"")
        self.check(given, b"x-cert: admin\r\n", b"X-Cert: robot\r\n", exchange(secured=certified("robot")))

    def test_no_value_begins_another_line(self):
        for name in ("a\r\nX-Admin: 1", "a\nb", "a\x00b", "a\x0bb", "a\u2028b", "a\x85b", "\ud800"):
            line = rules({"X-Cert": "{tls.clientCertificate}"})(b"", exchange(secured=certified(name)))
            self.assertRegex(line, rb"\AX-Cert: [^\x00-\x1f\x7f]+\r\n\Z")

    def test_a_value_that_should_have_no_controls_is_looked_at_all_the_same(self):
        given = exchange()
        given.routed = given.routed._replace(route=route("a\r\nX-Admin: 1"))
        self.check(rules({"X-Route": "{route}"}), b"", b"X-Route: a??X-Admin: 1\r\n", given)

    def test_text_that_is_no_ascii_is_sent_in_utf_8(self):
        given = rules({"X-Cert": "{tls.clientCertificate}"})
        self.check(given, b"", "X-Cert: J\xfcrgen\r\n".encode(), exchange(secured=certified("J\xfcrgen")))

    def test_rules_with_constant_values_are_compiled_to_bytes(self):
        given = rules({"X-Env": "prod"}, {"X-A": "{{b}}"})
        self.assertEqual(given(b"", exchange()), b"X-Env: prod\r\nX-A: {b}\r\n")


class RuledCase(HttpCase):
    def rule(self, *, ports=81, request=None, response=None, path=None, defaults=None, action=None, **more):
        headers = {key: each for key, each in (("request", request), ("response", response)) if each}
        match = {} if path is None else {"path": path}
        route = http_route("ruled", ports, action={"headers": headers, **(action or {})}, **match)
        more = {**more, "defaults": defaults} if defaults else more
        self.start(route, **more)

    def sent(self, fields=b"", *, path=b"/", ports=81):
        """The fields that the target gets, with their values in order."""
        self.connect(ports, b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (path, fields))
        lines, _ = self.received()
        found: dict[bytes, list[bytes]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(b": ")
            found.setdefault(name, []).append(value)
        return found

    def answered(self, answer=OK, request=GET, ports=81):
        return self.exchange(self.connect(ports), request, answer)


class RequestTests(RuledCase):
    def test_a_target_gets_what_rules_have_made(self):
        self.rule(request={"set": {"X-Env": "prod"}, "add": {"X-A": "{client.ip}"}, "remove": ["X-Debug"]})
        found = self.sent(b"X-Debug: 1\r\nx-env: test\r\nX-A: 0\r\nX_Env: test\r\n")
        self.assertEqual((found[b"X-Env"], found[b"X-A"]), ([b"prod"], [b"0", b"192.0.2.1"]))
        self.assertEqual(found.keys() & {b"X-Debug", b"x-env", b"X_Env"}, set())

    def test_names_listed_in_connection_do_not_remove_what_rules_set(self):
        self.rule(request={"set": {"X-Env": "prod"}})
        found = self.sent(b"Connection: X-Env, X-Forwarded-For, X-Request-Id, Via\r\nX-Env: test\r\n")
        self.assertEqual(found[b"X-Env"], [b"prod"])
        self.assertLessEqual({b"X-Forwarded-For", b"X-Request-Id", b"Via"}, found.keys())

    def test_rules_are_applied_to_what_the_proxy_adds(self):
        self.rule(request={"set": {"X-Real-IP": "{client.ip}:{client.port}"}, "remove": ["Via", "Forwarded"]})
        found = self.sent(b"Via: 1.1 other\r\nX-Real-IP: 9.9.9.9\r\n")
        self.assertRegex(found[b"X-Real-IP"][0], rb"\A192\.0\.2\.1:[0-9]+\Z")
        self.assertEqual(len(found[b"X-Real-IP"]), 1)
        self.assertEqual(found.keys() & {b"Via", b"Forwarded"}, set())
        self.assertIn(b"X-Forwarded-For", found)

    def test_a_path_cannot_inject_a_field(self):
        self.rule(request={"set": {"X-User": "{user}", "X-Path": "{path}{query}"}}, path="/u/:user")
        found = self.sent(path=b"/u/%0d%0aX-Admin:%201?a=%0a")
        self.assertEqual(found[b"X-User"], [b"%0d%0aX-Admin:%201"])
        self.assertEqual(found[b"X-Path"], [b"/u/%0d%0aX-Admin:%201?a=%0a"])
        self.assertNotIn(b"X-Admin", found)

    def test_a_long_value_is_sent_whole(self):
        self.rule(request={"set": {"X-User": "{user}{user}"}}, path="/:user")
        self.assertEqual(self.sent(path=b"/" + b"a" * 8000)[b"X-User"], [b"a" * 16000])

    def test_trailers_cannot_bring_back_what_rules_remove(self):
        self.rule(request={"set": {"X-User": "me"}, "remove": ["X-Debug"]})
        self.connect(
            81,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            b"X_User: admin\r\nx-debug: 1\r\nX-Request-Id: 1\r\nX-Sum: 1\r\n\r\n",
        )
        self.assertTrue(self.received()[1].endswith(b"0\r\nX-Sum: 1\r\n\r\n"), self.received()[1])

    def test_a_request_with_a_body_keeps_its_framing(self):
        self.rule(request={"set": {"X-Env": "prod"}, "remove": ["Content-Type"]})
        self.connect(81, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc")
        lines, body = self.received()
        self.assertEqual(
            (body, lines.count(b"Content-Length: 3"), lines.count(b"X-Env: prod")), (b"abc", 1, 1)
        )

    def test_an_upgrade_keeps_its_fields(self):
        self.rule(request={"set": {"X-Env": "prod"}}, response={"set": {"X-A": "1"}})
        client = self.connect(81, UPGRADE)
        self.answer(SWITCHED)
        self.assertIn(b"Upgrade: websocket", self.received()[0])
        self.assertEqual(client.received, SWITCHED)


class AnswerTests(RuledCase):
    def test_a_client_gets_what_rules_have_made(self):
        self.rule(
            response={
                "set": {"Strict-Transport-Security": "max-age=31536000", "X-Id": "{id}"},
                "add": {"Vary": "Origin"},
                "remove": ["Server", "Via", "Date"],
            }
        )
        got = self.answered(
            b"HTTP/1.1 200 OK\r\nServer: x\r\nVary: A\r\nx-id: 1\r\nX-Id: 2\r\nContent-Length: 2\r\n\r\nok"
        )
        self.assertRegex(
            got,
            rb"\AHTTP/1.1 200 OK\r\nVary: A\r\nStrict-Transport-Security: max-age=31536000\r\n"
            rb"X-Id: [0-9a-f]{32}\r\nVary: Origin\r\nContent-Length: 2\r\n\r\nok\Z",
        )

    def test_the_id_of_an_answer_is_that_of_its_request(self):
        self.rule(response={"set": {"X-Request-Id": "{id}"}})
        got = self.answered()
        (line,) = [each for each in self.received()[0] if each.startswith(b"X-Request-Id: ")]
        self.assertIn(line, got.split(b"\r\n"))

    def test_answers_of_the_proxy_itself_have_them_too(self):
        action = {"targets": [{"host": "10.9.9.9", "port": 1}], "http": {"max_body_size": 1}}
        self.rule(response={"set": {"Strict-Transport-Security": "max-age=1"}}, action=action)
        for request, status in (
            (GET, b"502"),
            (GET.replace(b"GET", b"HEAD"), b"502"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", b"413"),
        ):
            got = bytes(self.connect(81, request).received)
            self.assertEqual(got[9:12], status)
            self.assertIn(b"\r\nStrict-Transport-Security: max-age=1\r\n", got)
            self.assertEqual(b"\r\nConnection: close\r\n" in got, status == b"413")
            self.assertEqual(got.count(b"\r\n\r\n"), 1)

    def test_a_request_without_a_route_has_no_rules(self):
        self.rule(response={"set": {"X-A": "1"}}, path="/a")
        client = self.connect(81, GET.replace(b"/ ", b"/a "))
        self.answer()
        self.assertIn(b"X-A: 1", bytes(client.received))
        before = len(client.received)
        client.write(GET)
        self.network.settle()
        got = bytes(client.received[before:])
        self.assertEqual(got[9:12], b"404")
        self.assertNotIn(b"X-A: 1", got)

    def test_informational_answers_have_none(self):
        self.rule(response={"set": {"X-A": "1"}})
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        got = self.answered(early + OK)
        self.assertTrue(got.startswith(early))
        self.assertEqual(got.count(b"X-A: 1"), 1)

    def test_trailers_do_not_bring_back_what_rules_remove(self):
        self.rule(response={"remove": ["Server", "Via"]})
        got = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nServer: x\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertTrue(got.endswith(b"0\r\nX-Sum: 1\r\n\r\n"), got)


DEFAULTS = {
    "headers": {
        "request": {"set": {"X-A": "default", "X-B": "default"}, "remove": ["X-C"]},
        "response": {"set": {"X-R": "default"}},
    }
}  # fmt: skip


class InheritanceTests(RuledCase):
    def test_a_route_inherits_what_it_does_not_name(self):
        self.rule(request={"set": {"x_a": "own"}, "add": {"X-C": "own"}}, defaults=DEFAULTS)
        found = self.sent(b"X-C: sent\r\n")
        self.assertEqual(
            (found[b"x_a"], found[b"X-B"], found[b"X-C"]), ([b"own"], [b"default"], [b"sent", b"own"])
        )
        self.assertNotIn(b"X-A", found)
        self.assertIn(b"X-R: default", self.answered())

    def test_a_route_may_remove_what_is_set_for_all(self):
        self.rule(request={"remove": ["X-A", "X-B"]}, response={"remove": ["X-R"]}, defaults=DEFAULTS)
        self.assertEqual(self.sent().keys() & {b"X-A", b"X-B"}, set())
        self.assertNotIn(b"X-R", self.answered())

    def test_routes_that_forward_bytes_have_none(self):
        route = Route(name="tcp", match={"ports": 82}, action={"targets": [{"host": HOST, "port": 9000}]})
        self.start(route, defaults=DEFAULTS)
        self.connect(82, GET)
        self.assertEqual(self.backend.connections[-1].received, GET)

    def test_headers_alone_make_a_route_speak_http(self):
        action = {
            "targets": [{"host": HOST, "port": 9000}],
            "headers": {"request": {"set": {"X-A": "1"}}},
        }
        self.start(Route(name="auto", match={"ports": 82}, action=action))
        self.assertEqual(self.sent(ports=82)[b"X-A"], [b"1"])
