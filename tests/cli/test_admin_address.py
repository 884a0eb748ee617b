"""Which admin listener and token a command uses: from the options, from a configuration, or the default."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path

from treq.testing import RequestTraversalAgent
from twisted.internet.error import ConnectionRefusedError  # noqa: A004 - Twisted's
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.admin_address import parse_address
from smartproxy.cli.certificates import certificates
from smartproxy.cli.top import top
from smartproxy.model.plan import AdminPlan
from tests.admin.doubles import Listener
from tests.cli.test_remote import FailingAgent, RemoteCase

DEFAULT = "http://127.0.0.1:8404"
#: Only ``admin`` of a configuration matters: this one is not valid otherwise.
ROUTES = "routes: [{nmae: web}]\n"


class AddressTests(SynchronousTestCase):
    def test_each_form_of_an_address_is_accepted(self):
        for given, expected in (
            ("http://127.0.0.1:8404", DEFAULT),
            ("http://proxy.example:80/", "http://proxy.example:80"),
            ("https://proxy.example/admin/", "https://proxy.example/admin"),
            ("localhost:8404", "http://localhost:8404"),
            (":8404", DEFAULT),
            ("[::1]:8404", "http://[::1]:8404"),
            ("::1", "http://[::1]:8404"),
            ("127.0.0.1", DEFAULT),
            ("unix:run/admin.sock", "unix:run/admin.sock"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
            ("unix:///run/admin.sock", "unix:/run/admin.sock"),
        ):
            with self.subTest(given):
                self.assertEqual(parse_address(given), expected)

    def test_wildcard_address_becomes_loopback(self):
        for given, expected in (
            ("0.0.0.0:8405", "http://127.0.0.1:8405"),
            ("[::]:8405", "http://[::1]:8405"),
            ("http://0.0.0.0:8405/x", "http://127.0.0.1:8405/x"),
            ("http://[::]:8405", "http://[::1]:8405"),
        ):
            with self.subTest(given):
                self.assertEqual(parse_address(given), expected)

    def test_other_text_is_refused_with_the_forms_or_a_hint(self):
        for given, part in (
            ("ftp://x", "begins with http://"),
            ("http://", "begins with http://"),
            ("http://[x", "must be a URL, HOST:PORT, :PORT or unix:PATH: "),
            ("unix:", "needs a path"),
            ("localhost", "must be a URL, HOST:PORT, :PORT or unix:PATH"),
            ("8404", 'did you mean ":8404"?'),
            ("/run/admin.sock", 'did you mean "unix:/run/admin.sock"?'),
            ("h:0", "the port must be 1..65535 (got 0)"),
            ("h:70000", "the port must be 1..65535 (got 70000)"),
            ("h:port", "must be a URL"),
            ("", "must be a URL"),
        ):
            with self.subTest(given):
                self.assertIn(part, str(self.assertRaises(ValueError, parse_address, given)))


class FindTests(RemoteCase):
    def setUp(self):
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        here = chdir(self.directory)
        here.__enter__()
        self.addCleanup(here.__exit__, None, None, None)

    def write(self, admin, name="smartproxy.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(ROUTES + admin)

    def used(self, *arguments, env=None):
        """The address and the token that a command uses."""
        result = self.run_command("reload", *arguments, env=env)
        self.assertEqual(result.exit_code, 0, result.output)
        return self.admins[-1].url, self.admins[-1].token

    def refused(self, *arguments):
        result = self.run_command("reload", *arguments)
        self.assertEqual((result.exit_code, result.stdout, self.admins), (2, "", []))
        return result.stderr

    def test_without_options_and_file_the_default_is_used(self):
        self.assertEqual(self.used(), (DEFAULT, None))

    def test_configuration_in_the_working_directory_is_used(self):
        self.write("admin: {port: 9404, token: s3cret}")
        self.assertEqual(self.used(), ("http://127.0.0.1:9404", "s3cret"))

    def test_each_way_to_configure_a_listener_is_followed(self):
        for admin, url in (
            ("admin: true", DEFAULT),
            ("admin: {}", DEFAULT),
            ('admin: {address: "", token: x}', DEFAULT),
            ("admin: {address: 0.0.0.0, port: 1, token: x}", "http://127.0.0.1:1"),
            ('admin: {address: "::", token: x}', "http://[::1]:8404"),
            ('admin: {address: "::1"}', "http://[::1]:8404"),
            ("admin: {address: 127.0.0.2}", "http://127.0.0.2:8404"),
            ("admin: {unix: /run/admin.sock}", "unix:/run/admin.sock"),
        ):
            with self.subTest(admin):
                self.write(admin, "etc/proxy.yaml")
                self.assertEqual(self.used("--config", "etc/proxy.yaml")[0], url)

    def test_relative_socket_is_relative_to_the_configuration(self):
        self.write("admin: {unix: run/admin.sock}", "etc/proxy.yaml")
        self.assertEqual(self.used("--config", "etc/proxy.yaml")[0], "unix:etc/run/admin.sock")

    def test_json_and_toml_are_read_too(self):
        Path("a.json").write_text('{"admin": {"port": 1}}')
        Path("a.toml").write_text("[admin]\nport = 2\n")
        self.assertEqual(self.used("--config", "a.json")[0], "http://127.0.0.1:1")
        self.assertEqual(self.used("--config", "a.toml")[0], "http://127.0.0.1:2")

    def test_variables_in_admin_are_replaced_and_others_need_not_be_set(self):
        self.write(
            'admin: {port: "${CLI_TEST_PORT:-9404}", token: "${CLI_TEST_TOKEN}"}\nx: "${CLI_TEST_OTHER}"'
        )
        self.patch(os, "environ", {**os.environ, "CLI_TEST_TOKEN": "s3cret"})
        self.assertEqual(self.used(), ("http://127.0.0.1:9404", "s3cret"))

    def test_variable_of_the_token_need_not_be_set_where_a_token_is_given(self):
        self.write('admin: {token: "${CLI_TEST_TOKEN}"}')
        said = self.refused()
        self.assertTrue(said.startswith("smartproxy.yaml:2: admin.token: "), said)
        self.assertIn("CLI_TEST_TOKEN", said)
        self.assertEqual(self.used("--token", "given"), (DEFAULT, "given"))

    def test_option_and_environment_win_over_the_token_of_the_file(self):
        self.write("admin: {token: of-the-file}")
        self.assertEqual(self.used("--token", "given")[1], "given")
        self.assertEqual(self.used(env={"SMARTPROXY_TOKEN": "set"})[1], "set")

    def test_address_wins_and_gets_the_token_of_a_named_file_only(self):
        """A token must not be sent to an address for which it was not meant."""
        self.write("admin: {token: s3cret}")
        self.assertEqual(self.used("--admin", ":9"), ("http://127.0.0.1:9", None))
        self.assertEqual(
            self.used("--admin", ":9", "--config", "smartproxy.yaml"), ("http://127.0.0.1:9", "s3cret")
        )

    def test_configuration_without_admin_says_what_to_do(self):
        for admin in ("", "admin: false"):
            self.write(admin)
            said = self.refused()
            self.assertTrue(
                said.startswith("smartproxy.yaml: has no admin listener: add `admin: true`"), said
            )
            self.assertEqual(said.count("\n"), 1)

    def test_invalid_admin_is_reported_with_its_line_and_nothing_else(self):
        self.write("admin:\n  prot: 1\n")
        self.assertEqual(self.refused(), 'smartproxy.yaml:3: admin.prot: unknown key; did you mean "port"?\n')

    def test_configuration_that_cannot_be_read_is_reported(self):
        self.assertEqual(
            self.refused("--config", "none.yaml"), "none.yaml: cannot be read: No such file or directory\n"
        )
        Path("bad.yaml").write_text("admin: [")
        self.assertTrue(self.refused("--config", "bad.yaml").startswith("bad.yaml:"))
        Path("list.yaml").write_text("- 1")
        self.assertIn("must be a mapping", self.refused("--config", "list.yaml"))

    def test_every_remote_command_has_the_options(self):
        self.write("admin: {port: 5}")
        for command in ("reload", "drain", "connections", certificates, top):
            self.run_command(command, "--config", "smartproxy.yaml")
            self.assertEqual(self.admins[-1].url, "http://127.0.0.1:5")

    def test_wrong_token_of_a_file_is_named(self):
        self.write("admin: {token: other}")

        self.use(RequestTraversalAgent(Listener(self.control, AdminPlan(token="s3cret")).site.resource))
        result = self.run_command("reload")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("(admin in smartproxy.yaml) refused", result.stderr)
        self.assertIn("the token sent is from admin.token in smartproxy.yaml", result.stderr)

    def test_configured_listener_that_refuses_connections_is_reported(self):
        self.write("admin: true")
        self.use(FailingAgent(ConnectionRefusedError()))
        result = self.run_command("reload")
        self.assertEqual(result.exit_code, 1)
        self.assertIn(
            "http://127.0.0.1:8404 (admin in smartproxy.yaml): Connection was refused", result.stderr
        )
        self.assertIn("is the proxy running with this configuration? A changed `admin` needs", result.stderr)
