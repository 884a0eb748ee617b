"""Wrong options of ``twistd smartproxy``: the message names the option or the command that was meant."""

from __future__ import annotations

import io
import sys
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.tap import Options

CASES = [
    (["--confg", "x.yaml"], "option --confg not recognized; did you mean --config?"),
    (["--chek"], "option --chek not recognized; did you mean --check?"),
    (["--zzz"], "option --zzz not recognized (--help"),
    (["-n"], "option -n not recognized; options of twistd stand before the name: twistd -n smartproxy ..."),
    (["--pidfile=x"], "options of twistd stand before the name: twistd --pidfile smartproxy ..."),
    (["x.yaml"], "unexpected x.yaml; did you mean --config x.yaml?"),
    (["chek", "x.yaml"], "unexpected chek; did you mean smartproxy check?"),
    ([], "--config FILE is required"),
]


class StandardInputTests(SynchronousTestCase):
    def test_configuration_is_read_from_standard_input(self) -> None:
        text = b'{"routes": [{"name": "a", "match": {"ports": 80}, "action": {"type": "block"}}]}'
        for options in (["--config", "-"], ["--config", "-", "--format", "json"]):
            with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(text))):
                parsed = Options()
                parsed.parseOptions(options)
            self.assertEqual(parsed["settings"].summary(), "<stdin>: ok (1 routes, ports 80)")


class WrongOptionTests(SynchronousTestCase):
    def test_each_is_refused_with_what_was_meant_and_exits_2(self) -> None:
        for given, message in CASES:
            printed = io.StringIO()
            with patch.object(sys, "__stderr__", printed):  # twistd redirects sys.stderr to the log
                ended = self.assertRaises(SystemExit, Options().parseOptions, given)
            self.assertEqual(ended.code, 2)
            self.assertIn(message, printed.getvalue())
            self.assertEqual(printed.getvalue().count("\n"), 1)
