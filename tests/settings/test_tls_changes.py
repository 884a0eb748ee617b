"""Relative paths of certificates when the routes are replaced, and when the configuration has other problems."""

from __future__ import annotations

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.formats import as_json, route
from tests.settings.tls_case import FILES, LEAF, FileCase


class ChangeTests(FileCase):
    def test_with_routes_keeps_the_directory_of_files(self) -> None:
        tls = {"mode": "terminate", "certificate": FILES}
        made = self.load().with_routes([route(action={"tls": tls})]).compile()
        self.assertEqual(made.routes[0].tls.certificates[0].chain, LEAF.pem)

    def test_files_are_found_beside_another_problem(self) -> None:
        tls = {"mode": "terminate", "certificate": FILES}
        value = {"routes": [route(action={"tls": tls}), {"name": "bad"}]}
        path = self.write("proxy.json", as_json(value))
        raised = self.assertRaises(ConfigurationError, Settings.load, path)
        self.assertFalse([problem for problem in raised.problems if "a.pem" in problem])
