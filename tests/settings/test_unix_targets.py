"""Targets that are unix sockets: what is refused, what is warned about, and what they compile to."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.model.address import UnixEndpoint
from smartproxy.settings import Settings

#: A target, and the problem with it.
PROBLEMS = (
    ("{unix: /run/a, host: a, port: 1}", "targets[0].host: has no meaning beside unix"),
    ("{unix: /run/a, host: a, port: 1}", "targets[0].port: has no meaning beside unix"),
    ("{unix: /run/a, bind: 10.0.0.1}", "targets[0].bind: has no meaning beside unix"),
    ("{unix: /run/a, healthCheck: {port: 80}}", "targets[0].healthCheck.port: has no meaning beside unix"),
    ("{weight: 2}", "targets[0].host: is required"),
    ("{weight: 2}", "targets[0].port: is required"),
    ("{host: a}", "targets[0].port: is required"),
    ("{unix: /run/a, tls: true}", "targets[0].tls.serverName: is required for a unix socket"),
    ("{unix: /run/a, tls: {minVersion: '1.3'}}", "targets[0].tls.serverName: is required for a unix socket"),
    ('{unix: ""}', "targets[0].unix: must be the path of a unix socket, or @ and a name"),
    ('{unix: "@"}', "targets[0].unix: must be the path of a unix socket, or @ and a name"),
    (
        '{unix: "unix:/run/a"}',
        'targets[0].unix: must be the path of a unix socket, or @ and a name; write "/run/a" (got "unix:/run/a")',
    ),
    (
        f"{{unix: /{'a' * 107}}}",
        "targets[0].unix: is 108 bytes long as an absolute path; a unix socket has 107 at most",
    ),
    ("{unix: /run/ä" + "a" * 101 + "}", "targets[0].unix: is 108 bytes long as an absolute path"),
    (
        "unix:/run/a",
        "targets[0]: must be a mapping; for a unix socket write {unix: /run/a}, without host and port",
    ),
)
VALID = (
    f"{{unix: /{'a' * 106}}}",
    '{unix: "@app"}',
    "{unix: run/app.sock, name: app, weight: 3, backup: true, maxConnections: 5, sendProxyProtocol: 2}",
    "{unix: /run/a, tls: {serverName: app.internal}}",
    "{unix: /run/a, tls: {verify: false}}",
    "{unix: /run/a, healthCheck: true}",
)
ROUTE = "routes: [{{name: web, match: {{ports: 80}}, action: {{targets: [{}]{}}}}}]\n"


def parsed(target, action="", top="", file="/etc/smartproxy/proxy.yaml"):
    return Settings.parse(ROUTE.format(target, action) + top, "yaml", file)


class UnixTargetSettingsTests(SynchronousTestCase):
    def test_wrong_targets_are_refused(self):
        for written, problem in PROBLEMS:
            with self.subTest(written=written):
                refused = self.assertRaises(ConfigurationError, parsed, written)
                self.assertIn(problem, str(refused))

    def test_valid_targets_have_no_warnings(self):
        for written in VALID:
            with self.subTest(written=written):
                warnings = parsed(written).warnings()
                self.assertEqual([line for line in warnings if "verify: is false" not in line], [])

    def test_path_is_relative_to_the_file(self):
        for written, path in (
            ("run/app.sock", "/etc/smartproxy/run/app.sock"),
            ("/run/app.sock", "/run/app.sock"),
            ('"@app"', "@app"),
        ):
            (target,) = parsed(f"{{unix: {written}}}").compile().routes[0].targets
            self.assertEqual((target.hosts, target.port), ((UnixEndpoint(path),), None))

    def test_relative_path_of_a_program_is_made_absolute(self):
        settings = Settings.of(
            {"routes": [{"name": "web", "match": {"ports": 80}, "action": {"targets": [{"unix": "a"}]}}]}
        )
        (target,) = settings.compile().routes[0].targets
        self.assertEqual(target.hosts, (UnixEndpoint(str(Path.cwd() / "a")),))

    def test_groups_have_unix_targets(self):
        text = (
            "targetGroups: {app: {targets: [{unix: /run/app.sock, bind: 10.0.0.1}]}}\n"
            "routes: [{name: web, match: {ports: 80}, action: {group: app}}]"
        )
        refused = self.assertRaises(ConfigurationError, Settings.parse, text, "yaml")
        self.assertIn("targetGroups.app.targets[0].bind: has no meaning beside unix", str(refused))

    def test_reencrypting_route_needs_a_name(self):
        for upstream, is_valid in (
            ("", False),
            (", upstream: {alpn: [h2]}", False),
            (", upstream: {serverName: a.b}", True),
        ):
            tls = f", tls: {{mode: terminate-and-reencrypt, certificate: selfSigned{upstream}}}"
            problems = (
                "" if is_valid else str(self.assertRaises(ConfigurationError, parsed, "{unix: /run/a}", tls))
            )
            if is_valid:
                parsed("{unix: /run/a}", tls).compile()
            self.assertEqual(
                "tls.upstream.serverName: is required for a unix socket" in problems, not is_valid
            )

    def test_admin_socket_and_repeated_targets_are_warned_about(self):
        (line,) = parsed("{unix: admin.sock}", top="admin: {unix: ./admin.sock}").warnings()
        self.assertIn("targets[0].unix: is the admin listener of this proxy", line)
        self.assertEqual(parsed("{unix: a.sock}", top="admin: {unix: admin.sock}").warnings(), [])
        (line,) = parsed("{unix: /run/a}, {unix: /run/b}, {unix: /run/a}").warnings()
        self.assertIn("targets[2]: is listed before: unix:/run/a; use weight for a larger share", line)
