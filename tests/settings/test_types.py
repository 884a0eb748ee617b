"""An embedder's settings pass ``mypy --strict`` without plugins, and a wrong type in them is found.

``test_typed_documentation`` checks the programs of the pages, which have few of the keys and no mistakes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.settings.formats import folder

ROOT = Path(__file__).parents[2]

PROGRAM = """\
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

from smartproxy import Action, CertificatePlan, Connection, Match, Route, Routed, RouteTls, Security, Settings, Target
from smartproxy import UpstreamTls, echo
from smartproxy.settings import AdminSettings, CertificateSettings, ProxyHeaderSettings, ResponseSettings


def host(routed: Routed) -> str:
    return "192.0.2.1" if routed.detected.client_ip.startswith("10.") else "192.0.2.2"


async def awaited(routed: Routed) -> str:
    return host(routed)


def deferred(routed: Routed) -> Deferred[str]:
    return succeed(host(routed))


async def certificate(name: str | None) -> CertificatePlan | None:
    return None


async def handle(connection: Connection) -> None:
    await connection.write(b"hello")


targets = [
    Target(host=host, port=lambda routed: 9000),
    Target(host=awaited, port=lambda routed: "preserve"),
    Target(host=deferred, port=9000, tls=True, send_proxy_protocol=ProxyHeaderSettings(tlvs=["alpn"])),
    Target(host=["a.example", "b.example"], port="preserve", tls=UpstreamTls(verify=False)),
]
chosen = RouteTls(mode="terminate", certificate=certificate)
listed = RouteTls(mode="terminate", certificate=[CertificateSettings(cert_file="a.pem"), "selfSigned"])
settings = Settings(
    proxy_ips=["10.0.0.0/8"],
    inactivity_timeout="4h",
    admin=AdminSettings(unix="/run/smartproxy"),
    routes=[
        Route(name="web", match=Match(ports=80), action=Action(targets=targets), security=Security(max_connections=9)),
        Route(name="a", match=Match(ports=[7, "8000-8010"]), action=Action(type="handler", handler=handle)),
        Route(name="b", match=Match(ports=8), action=Action(type="handler", handler=Factory.forProtocol(Echo))),
        Route(name="c", match=Match(ports=9), action=Action(type="handler", handler="package.module:name")),
        Route(name="h", match=Match(ports=10), action=Action(type="handler", handler=echo)),
        Route(name="d", match=Match(ports=443, domains=["*.example"]), action=Action(tls=chosen)),
        Route(name="e", match=Match(ports=444), action=Action(tls=listed)),
        Route(name="f", match=Match(ports=81), action=Action(type="respond", response=ResponseSettings(body="hello"))),
    ],
)
loaded: Settings = Settings.load("smartproxy.yaml").with_routes([*settings.routes, {"name": "g"}])
ports: list[range] = [ports for route in loaded.compile().routes for ports in route.match.ports]
"""

#: Each with the code of its error.
WRONG = {
    "Target(host=lambda routed: 5, port=1)": "return-value",
    "Target(host=lambda routed: routed.no_such_fact, port=1)": "attr-defined",
    'Target(host="h", port=1, weigth=2)': "call-arg",
    'Action(type="forwrd")': "arg-type",
    "RouteTls(certificate=lambda name: 5)": "return-value",
    "Action(handler=5)": "arg-type",
}


class EmbedderTypeTests(SynchronousTestCase):
    if importlib.util.find_spec("mypy") is None:
        skip = "mypy is not installed; it is in the extra smartproxy[lint]"

    def mypy(self, program: str) -> list[str]:
        """What mypy prints of ``program``, without a configuration file, and so without plugins."""
        directory = folder(self)
        (directory / "program.py").write_text(program, encoding="utf-8")
        command = [
            sys.executable, "-m", "mypy", "--strict", "--config-file=", "--explicit-package-bases",
            "--follow-imports=silent", "--no-error-summary", "--hide-error-context",
            "--cache-dir", str(ROOT / ".mypy_cache" / "embedder"), "program.py",
        ]  # fmt: skip
        environment = {**os.environ, "MYPYPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        return (done.stdout + done.stderr).splitlines()

    def test_strict_mypy_accepts_a_program_and_finds_its_mistakes(self) -> None:
        """In one run, because mypy reads the whole package first."""
        first = PROGRAM.count("\n") + 1
        told = self.mypy(PROGRAM + "\n".join(WRONG))
        found = {int(line.split(":")[1]): line for line in told if ": error:" in line}
        self.assertEqual(sorted(found), list(range(first, first + len(WRONG))), "\n".join(told))
        for line, code in enumerate(WRONG.values(), first):
            self.assertIn(f"[{code}]", found[line])
