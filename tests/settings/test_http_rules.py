"""Rules for headers and paths: what is refused, and what is inherited."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.http.made import exchange

TARGET = "targets: [{host: 10.0.0.1, port: 80}]"
ONE_CONNECTION = (
    "is not changed by rules: it is about one connection, and the proxy writes it where it is needed; "
    "see action.http for connections"
)
FRAMES = "is not changed by rules: the proxy frames messages itself"

#: Keys of the action of a route with the path ``/:user``, and the problem with them.
PROBLEMS = (
    ("headers: {request: {set: {Host: a}}}", 'headers.request.set.Host: is not changed by rules: is set with rewrite.host (got "Host")'),
    ("headers: {request: {remove: [a, hOST]}}", 'headers.request.remove[1]: is not changed by rules: is set with rewrite.host (got "hOST")'),
    *(
        (f"headers: {{{kind}: {{{change}: {{{name}: a}}}}}}", f'headers.{kind}.{change}.{name}: {why} (got "{name}")')
        for kind in ("request", "response")
        for change in ("set", "add")
        for names, why in (
            (("Content-Length", "transfer-encoding"), FRAMES),
            (("Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Connection"), ONE_CONNECTION),
        )
        for name in names
    ),
    ("headers: {request: {set: {'X A': a}}}", 'headers.request.set.X A: must be the name of a header (got "X A")'),
    ("headers: {request: {set: {'X-A:': a}}}", 'headers.request.set.X-A:: must be the name of a header (got "X-A:")'),
    ("headers: {request: {set: {X-A: ''}}}", 'headers.request.set.X-A: must be the value of a header: printable ASCII; to remove a header, list it in remove (got "")'),
    ('headers: {request: {set: {X-A: "a\\r\\nb"}}}', 'headers.request.set.X-A: must be the value of a header: printable ASCII (got "a\\r\\nb")'),
    ("headers: {request: {set: {X-A: a}, remove: x_a}}", 'headers.request.remove[0]: is also in set, which names the same header (got "x_a")'),
    ("headers: {response: {set: {X-A: a, x-a: b}}}", 'headers.response.set.x-a: is also in set, which names the same header (got "x-a")'),
    ("headers: {request: {add: {X-A: '{client.ipp}'}}}", 'headers.request.add.X-A: has no such variable: {client.ipp}; did you mean {client.ip}? (got "{client.ipp}")'),
    ("headers: {response: {set: {X-A: '{usr}'}}}", 'headers.response.set.X-A: has no such variable: {usr}; did you mean {user}? (got "{usr}")'),
    ("headers: {response: {set: {X-A: '{host'}}}", 'headers.response.set.X-A: has { without }: {host (got "{host")'),
    ("headers: {set: {X-A: a}}", 'headers.set: unknown key; it belongs in "request" or "response"'),
    ("headers: [X-A]", "headers: must be a mapping; write {request: {set: {NAME: VALUE}}}, or response in place of request (got a list)"),
    ("rewrite: {path: '/v2/:id'}", 'rewrite.path: has :id, which is not a name in match.path (got "/v2/:id")'),
    ("rewrite: {path: v2}", 'rewrite.path: must be a path like "/v2/:id" (got "v2")'),
    ("rewrite: {path: '/v2/*'}", 'rewrite.path: must not have *; {path} is the path that was received, without stripPrefix (got "/v2/*")'),
    *((f"rewrite: {{stripPrefix: '{written}'}}", f'rewrite.stripPrefix: must be a path like /api, without *, :name and variables (got "{written}")')
      for written in ("api", "/", "//", "", "/a//b", "/:user", "/api/*", "/a?b", "/a b", "/{path}")),
    *((f"rewrite: {{host: '{written}'}}", f'rewrite.host: must be "preserve", "target", or a host with or without a port (got "{written}")')
      for written in ("", "a b", "a:b", "a:0", "a:65536", "::1", "[a]", "http://a", "a/b", "a,b", ":80")),
    ("protocol: tcp, rewrite: {host: target}", 'rewrite: has no meaning for protocol "tcp"'),
    ("protocol: tcp, headers: {}", 'headers: has no meaning for protocol "tcp"'),
)  # fmt: skip


def parsed(action, top="", match=", path: '/:user'", more=f"{TARGET}, "):
    text = f"{top}\nroutes: [{{name: web, match: {{ports: 80{match}}}, action: {{{more}{action}}}}}]"
    return Settings.parse(text, "yaml")


#: Actions that answer requests without a target.
ANSWERS = (
    "type: redirect, to: /x",
    "type: respond, response: {status: 200}",
    "type: static, root: /",
    "type: handler, handler: 'tests.settings.test_http_rules:serve'",
)


async def serve(exchange):
    """A handler that answers requests."""


def plan(*given, **more):
    return parsed(*given, **more).compile().routes[0].http


def problems(*given, **more):
    try:
        parsed(*given, **more)
    except ConfigurationError as error:
        return [str(each).partition(": ")[2].replace("routes[0].action.", "") for each in error.problems]
    return []


class RefusalTests(SynchronousTestCase):
    def test_each_is_refused_with_its_key(self):
        for action, problem in PROBLEMS:
            self.assertEqual(problems(action), [problem], action)

    def test_rules_of_defaults_are_refused_once_and_name_a_route(self):
        top = "defaults: {headers: {request: {set: {X-A: '{usr}', Host: a}}}, rewrite: {path: '/:id'}}"
        self.assertEqual(
            problems("protocol: http", top=top),
            [
                'defaults.headers.request.set.X-A: has no such variable: {usr}; did you mean {user}?, on route "web" (got "{usr}")',
                'defaults.headers.request.set.Host: is not changed by rules: is set with rewrite.host (got "Host")',
                'defaults.rewrite.path: has :id, which is not a name in match.path, on route "web" (got "/:id")',
            ],
        )

    def test_variables_that_may_be_confused_with_a_name_of_the_path_are_refused(self):
        said = 'has {path}, which is also a name in match.path: rename :path there (got "/x{path}")'
        for action, key in (
            ("headers: {request: {set: {X-A: '/x{path}'}}}", "headers.request.set.X-A"),
            ("headers: {response: {add: {X-A: '/x{path}'}}}", "headers.response.add.X-A"),
            ("rewrite: {path: '/x{path}'}", "rewrite.path"),
        ):
            self.assertEqual(problems(action, match=", path: '/:path'"), [f"{key}: {said}"])

    def test_rules_for_answers_of_the_proxy_are_refused_likewise(self):
        for action in ANSWERS:
            rules = "headers: {response: {set: {X-A: '{usr}', Content-Length: '1'}}}"
            found = [
                'headers.response.set.X-A: has no such variable: {usr}; did you mean {user}? (got "{usr}")',
                f'headers.response.set.Content-Length: {FRAMES} (got "Content-Length")',
            ]
            self.assertEqual(problems(f"{action}, {rules}", more=""), found, action)
            top = "defaults: {rewrite: {path: '/:id'}}"
            found = [
                'defaults.rewrite.path: has :id, which is not a name in match.path, on route "web" (got "/:id")'
            ]
            self.assertEqual(problems(action, top=top, more=""), found, action)
        found = ['rewrite.path: has :id, which is not a name in match.path (got "/:id")']
        self.assertEqual(problems("type: static, root: /, rewrite: {path: '/:id'}", more=""), found)

    def test_rules_of_defaults_are_nothing_to_a_handler_of_connections(self):
        top = "defaults: {headers: {response: {set: {X-A: '{usr}'}}}, rewrite: {path: '/:id'}}"
        action = "type: handler, handler: 'smartproxy.serving.ready:echo'"
        self.assertEqual(problems(action, top=top, more=""), [])
        self.assertIsNone(plan(action, top=top, more=""))

    def test_variables_of_defaults_are_those_of_the_request(self):
        top = "defaults: {headers: {request: {set: {X-A: '{path}'}}}, rewrite: {path: '/x{path}'}}"
        given = exchange("/y", pattern="/:path")
        made = plan("protocol: http", top=top, match=", path: '/:path'")
        self.assertEqual(made.rewrite.target(given), "/x/y")
        self.assertEqual(made.request_rules(b"", given), b"X-A: /y\r\n")

    def test_rules_of_defaults_that_no_route_uses_are_not_compiled(self):
        top = "defaults: {headers: {request: {set: {X-A: '{user}'}}}}"
        self.assertEqual(problems("protocol: tcp", top=top), [])


class CompileTests(SynchronousTestCase):
    def test_a_route_without_rules_has_none(self):
        made = plan("protocol: http, headers: {}, rewrite: {}")
        self.assertEqual((made.request_rules, made.answer_rules, made.rewrite), (None, None, None))

    def test_hosts_may_have_a_port(self):
        for written in (
            "preserve",
            "target",
            "a.test",
            "a.test:8080",
            "192.0.2.1:1",
            "[2001:db8::1]",
            "[::1]:80",
        ):
            made = plan(f"rewrite: {{host: '{written}', stripPrefix: /a}}")
            self.assertEqual(made.rewrite.host, written)

    def test_a_rule_of_a_route_takes_the_place_of_those_of_the_same_name(self):
        top = "defaults: {headers: {request: {set: {X-A: d, X-B: d}, add: {X-C: d}}}}"
        made = plan("headers: {request: {add: {x_a: r}, remove: X-C}}", top=top)
        self.assertEqual(
            made.request_rules.written(), {"set": {"X-B": "d"}, "add": {"x_a": "r"}, "remove": ["X-C"]}
        )
        self.assertIsNone(made.answer_rules)
