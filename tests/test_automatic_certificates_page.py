"""``docs/automatic-certificates.rst``: its programs run, and what it names exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Settings
from tests.test_documents import DOCS, blocks, program, text
from tests.test_monitoring import alerts, exported

PAGE = DOCS / "automatic-certificates.rst"
NAME, VALUE = "_acme-challenge.example.com.", "gfj9Xq...Rg85nM"


class ProgramTests(SynchronousTestCase):
    def test_failed_orders_are_logged_by_the_callable(self) -> None:
        defined = program(PAGE, "on_event.append(")
        proxy = SimpleNamespace(acme=SimpleNamespace(on_event=[]))
        defined["watch"](proxy)
        (tell,) = proxy.acme.on_event
        with self.assertLogs(level="ERROR") as logged:
            tell(SimpleNamespace(kind="renewed", names=("a.example",), detail=""))
            tell(SimpleNamespace(kind="failed", names=("b.example", "c.example"), detail="caa"))
        self.assertEqual(
            [record.getMessage() for record in logged.records],
            ["no certificate for b.example, c.example: caa"],
        )

    def test_a_callable_has_the_names_of_customers_ordered(self) -> None:
        defined = program(PAGE, "async def certificate_of(")
        (route,) = Settings(routes=[defined["tenants"]]).compile().routes
        assert route.tls is not None
        chosen = route.tls.certificate_for
        self.assertIs(chosen, defined["certificate_of"])
        for name, certificate in (("red.apps.example", "auto"), ("blue.apps.example", None), (None, None)):
            answer = Deferred.fromCoroutine(defined["certificate_of"](name))
            self.assertEqual(self.successResultOf(answer), certificate)


class DnsCommandTests(SynchronousTestCase):
    """The script runs with an ``nsupdate`` that keeps its input, and a ``sleep`` that takes no time."""

    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        ((_, script),) = blocks(PAGE, "shell")
        self.file("dns.sh", script)
        self.file("nsupdate", '#!/bin/sh\necho "$@" >asked; cat >>asked\n')
        self.file("sleep", "#!/bin/sh\ntouch slept\n")

    def file(self, name: str, content: str) -> None:
        (self.directory / name).write_text(content, encoding="utf-8")
        (self.directory / name).chmod(0o755)

    def run_command(self, *arguments: str) -> int:
        path = f"{self.directory}:{os.environ['PATH']}"
        command = ["./dns.sh", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env={"PATH": path}, check=False, capture_output=True
        ).returncode

    def asked(self) -> list[str]:
        return (self.directory / "asked").read_text(encoding="utf-8").splitlines()

    def test_present_adds_a_record_and_waits_until_it_is_served(self) -> None:
        self.assertEqual(self.run_command("present", NAME, VALUE), 0)
        self.assertEqual(
            self.asked(),
            [
                "-k /etc/smartproxy/nsupdate.key",
                "server ns1.example.com",
                f'update add {NAME} 60 TXT "{VALUE}"',
                "send",
            ],
        )
        self.assertTrue((self.directory / "slept").exists())

    def test_cleanup_deletes_only_its_value(self) -> None:
        """A name and its wildcard have records of one name at the same time."""
        self.assertEqual(self.run_command("cleanup", NAME, VALUE), 0)
        self.assertEqual(self.asked()[2], f'update delete {NAME} TXT "{VALUE}"')
        self.assertFalse((self.directory / "slept").exists())

    def test_a_failed_update_fails_the_command(self) -> None:
        self.file("nsupdate", "#!/bin/sh\nexit 2\n")
        for arguments in (("present", NAME, VALUE), ("presnt", NAME, VALUE)):
            self.assertNotEqual(self.run_command(*arguments), 0)
        self.assertFalse((self.directory / "slept").exists())


class NamesTests(SynchronousTestCase):
    page = text(PAGE)

    def test_metrics_and_alerts_on_it_exist(self) -> None:
        named = set(re.findall(r"``(smartproxy_\w+)(?:\{\w+\})?``", self.page))
        self.assertEqual((len(named), named - exported().keys()), (3, set()))
        fired = set(re.findall(r"``(Smartproxy\w+)``", self.page))
        self.assertEqual((len(fired), fired - {rule["alert"] for rule in alerts()}), (3, set()))

    def test_pages_about_tls_and_refusals_lead_to_it(self) -> None:
        for page in ("index", "operations", "refusals", "embedding"):
            self.assertIn("automatic-certificates", text(DOCS / f"{page}.rst"))
        self.assertIn("docs/automatic-certificates.rst", text(DOCS.parent / "README.rst"))
