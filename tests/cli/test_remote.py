"""The remote commands against the real admin API, over an in-memory HTTP agent."""

from __future__ import annotations

import errno
import json

from click.testing import CliRunner
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, ResponseFailed
from twisted.web.resource import Resource

from smartproxy.cli import admin_client, remote
from smartproxy.model.plan import AdminPlan
from tests.admin.doubles import FakeControl, Listener


class SlowAgent:
    def request(self, *_request):
        return Deferred()


class FailingAgent:
    def __init__(self, why):
        self._why = why

    def request(self, *_request):
        return fail(self._why)


class RemoteCase(SynchronousTestCase):
    """Runs a command with a ``Clock`` in place of the reactor."""

    def setUp(self):
        self.control = FakeControl()
        self.clock = Clock()
        self.use(RequestTraversalAgent(Listener(self.control).site.resource))
        self.patch(remote.task, "react", self.react)

    def use(self, agent):
        self.admins = []
        self.patch(admin_client, "make_agent", lambda _reactor, admin: self.admins.append(admin) or agent)

    def react(self, main):
        ended = []
        Deferred.fromCoroutine(main(self.clock)).addBoth(ended.append)
        self.clock.advance(admin_client.TIMEOUT)
        (result,) = ended
        raise result.value if isinstance(result, Failure) else SystemExit(0)

    def run_command(self, name, *arguments, env=None):
        command = getattr(remote, name) if isinstance(name, str) else name
        result = CliRunner().invoke(command, arguments, env=env)
        self.assertIsInstance(result.exception, SystemExit | None, result.exception)
        return result


class ReloadAndDrainTests(RemoteCase):
    def test_reload_prints_the_number_of_routes(self):
        result = self.run_command("reload")
        self.assertEqual((result.exit_code, result.output), (0, "reloaded; routes in force: 1\n"))
        self.assertEqual(self.control.changes, ["reload"])

    def test_reload_prints_what_waits_for_a_restart(self):
        self.control.waiting = ["acceleration", "admin"]
        result = self.run_command("reload")
        self.assertEqual(result.exit_code, 0)
        self.assertIn("\nchanged settings wait for a restart: acceleration, admin\n", result.output)

    def test_a_port_that_cannot_be_bound_is_exit_code_3(self):
        self.control.unbound = error.CannotListenError("10.0.0.1", 443, OSError(98, "Address already in use"))
        result = self.run_command("reload")
        self.assertEqual(result.exit_code, 3)
        self.assertIn("cannot listen on 10.0.0.1:443", result.stderr)

    def test_reload_of_an_invalid_configuration_exits_2(self):
        self.control.problems = ["a.yaml:3: routes[0]: no \x1b name", "a.yaml:4: more"]
        result = self.run_command("reload")
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(result.stderr, "a.yaml:3: routes[0]: no \\x1b name\na.yaml:4: more\n")

    def test_drain_stops_accepting_and_says_so(self):
        result = self.run_command("drain")
        self.assertEqual((result.exit_code, self.control.draining), (0, True))
        self.assertTrue(result.output.startswith("draining"))


class ConnectionsTests(RemoteCase):
    def test_connections_prints_a_table(self):
        self.control.connect("2001:db8::1", received=1234, sent=5)
        result = self.run_command("connections")
        self.assertEqual(result.exit_code, 0)
        for text in ("2001:db8::1]:4000", "web", "1234", "2026-01-02T03:03:55.678Z", "client"):
            self.assertIn(text, result.output)

    def test_filters_are_sent_to_the_proxy(self):
        self.control.connect("192.0.2.1", "web")
        self.control.connect("192.0.2.2", "web")
        self.control.connect("192.0.2.1", "mail")
        result = self.run_command("connections", "--json", "--route", "web", "--client-ip", "192.0.2.2")
        self.assertEqual([shown["id"] for shown in json.loads(result.output)["connections"]], [2])

    def test_truncated_list_has_a_caption(self):
        self.control.connect()
        self.control.connect()
        self.assertIn("1 of 2", self.run_command("connections", "--limit", "1").output)
        self.assertNotIn(" of ", self.run_command("connections").output)

    def test_control_characters_and_markup_are_escaped_in_a_table(self):
        self.control.connect(route="\x1b]0;owned\x07[red]\x9b\N{RIGHT-TO-LEFT OVERRIDE}")
        output = self.run_command("connections").output
        self.assertIn(r"\x1b]0;owned\x07[red]\x9b\u202e", output)
        self.assertNotRegex(output, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")

    def test_json_is_ascii_without_control_characters(self):
        self.control.connect().sni = "\x1b\x7f\xe9"
        result = self.run_command("connections", "--json")
        self.assertTrue(result.output.isascii())
        self.assertNotRegex(result.output, "[\x00-\x09\x0b-\x1f]")

    def test_filter_that_the_proxy_refuses_exits_1_with_the_reason(self):
        result = self.run_command("connections", "--client-ip", "nonsense")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("clientIp an IP address", result.stderr)


class TokenTests(RemoteCase):
    def setUp(self):
        super().setUp()
        self.use(RequestTraversalAgent(Listener(self.control, AdminPlan(token="s3cret")).site.resource))

    def test_missing_token_is_one_line_and_exit_code_1(self):
        result = self.run_command("drain")
        self.assertEqual((result.exit_code, self.control.draining), (1, False))
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertRegex(result.stderr, r"http://127.0.0.1:8404 \(.*\) refused: .*give it with --token")

    def test_wrong_token_names_its_origin(self):
        result = self.run_command("drain", "--token", "wrong")
        self.assertEqual((result.exit_code, self.control.draining), (1, False))
        self.assertTrue(result.stderr.endswith("the token sent is from --token or SMARTPROXY_TOKEN\n"))

    def test_token_comes_from_the_option_or_the_environment(self):
        self.assertEqual(self.run_command("drain", "--token", "s3cret").exit_code, 0)
        self.assertEqual(self.run_command("drain", env={"SMARTPROXY_TOKEN": "s3cret"}).exit_code, 0)
        self.assertEqual(self.run_command("drain", env={"SMARTPROXY_TOKEN": "wrong"}).exit_code, 1)


class NoAnswerTests(RemoteCase):
    def _fails(self, text, *arguments):
        result = self.run_command("connections", *arguments)
        self.assertEqual((result.exit_code, result.stdout, result.stderr.count("\n")), (1, "", 1))
        self.assertIn(text, result.stderr)

    def test_refused_connection_is_reported(self):
        for how, why in (
            (error.ConnectionRefusedError(), "Connection was refused by other side"),
            (error.ConnectionRefusedError(errno.ECONNREFUSED), "Connection refused"),
        ):
            self.use(FailingAgent(how))
            self._fails(
                "cannot connect to the admin listener at http://127.0.0.1:8404 (the default, as there is"
            )
            self._fails(f"{why}; is the proxy running, with `admin` in its configuration?")

    def test_unix_socket_that_is_missing_or_denied_is_reported(self):
        self.use(FailingAgent(error.ConnectError(errno.ENOENT)))
        self._fails(
            "at unix:/run/x.sock (--admin): No such file or directory; is", "--admin", "unix:/run/x.sock"
        )
        self.use(FailingAgent(error.ConnectError(errno.EACCES)))
        self._fails("Permission denied; only the proxy's user and root may use its", "--admin", "unix:x")

    def test_name_that_cannot_be_resolved_is_reported(self):
        self.use(FailingAgent(error.DNSLookupError("no results for hostname lookup: nohost")))
        self._fails("http://nohost:1 (--admin): its name cannot be resolved", "--admin", "nohost:1")

    def test_peer_that_does_not_speak_http_is_reported(self):
        self.use(FailingAgent(ResponseFailed([Failure(ValueError("SSH-2.0"))])))
        self._fails("does not speak HTTP;")
        self._fails("does not speak HTTPS;", "--admin", "https://h:1")

    def test_reason_of_a_failed_response_is_reported(self):
        self.use(FailingAgent(ResponseFailed([Failure(error.ConnectionRefusedError())])))
        self._fails("Connection was refused")

    def test_timeout_is_reported(self):
        self.use(SlowAgent())
        self._fails("no reply from http://h:1 (--admin) within 30 s", "--admin", "h:1")

    def test_reply_of_another_server_is_reported(self):
        class Page(Resource):
            isLeaf = True

            def render(self, request):
                request.setResponseCode(answers[0][0])
                return answers[0][1]

        answers = [(200, b"<html>welcome</html>"), (404, b'{"message": "Not Found"}'), (200, b"[]")]
        while answers:
            status, _ = answers[0]
            self.use(RequestTraversalAgent(Page()))
            self._fails(f"answered {status}, but is not an admin listener of smartproxy; name")
            del answers[0]


class AgentTests(SynchronousTestCase):
    def test_unix_address_connects_to_the_socket(self):
        reactor = MemoryReactorClock()
        admin = admin_client.AdminClient("unix:/run/smartproxy.sock")
        called = Deferred.fromCoroutine(admin_client.call(reactor, admin, "GET", "/healthz"))
        self.assertEqual(reactor.unixClients[0][0], "/run/smartproxy.sock")
        reactor.advance(admin_client.TIMEOUT)
        self.failureResultOf(called, admin_client.AdminRequestFailed)

    def test_url_keeps_its_path_without_the_last_slash(self):
        self.assertEqual(admin_client.AdminClient("http://h:1/x/").base, "http://h:1/x")
        self.assertIsInstance(admin_client.make_agent(Clock(), admin_client.AdminClient("http://h")), Agent)
