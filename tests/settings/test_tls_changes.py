"""A configuration with certificates that is changed, or wrong elsewhere: its files stay where they were."""

from __future__ import annotations

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.spellings import as_json, route
from tests.settings.test_tls import FILES, LEAF
from tests.settings.test_tls import FileCase as _FileCase


class ChangeTests(_FileCase):
    def test_other_routes_find_their_files_where_the_old_ones_did(self) -> None:
        tls = {"mode": "terminate", "certificate": FILES}
        made = self.load().with_routes([route(action={"tls": tls})]).compile()
        self.assertEqual(made.routes[0].tls.certificates[0].chain, LEAF.pem)

    def test_one_more_problem_elsewhere_does_not_move_the_files(self) -> None:
        tls = {"mode": "terminate", "certificate": FILES}
        value = {"routes": [route(action={"tls": tls}), {"name": "bad"}]}
        path = self.write("proxy.json", as_json(value))
        raised = self.assertRaises(ConfigurationError, Settings.load, path)
        self.assertFalse([problem for problem in raised.problems if "a.pem" in problem])
