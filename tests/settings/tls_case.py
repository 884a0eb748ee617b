"""A directory with a configuration and TLS files, for the tests of TLS settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import ProxyPlan
from smartproxy.settings import Settings
from tests.settings.formats import as_json, folder, route
from tests.tls.made import Authority

CA = Authority()
LEAF = CA.leaf("a.example")
RSA = CA.leaf("a.example", kind="rsa")
#: The keys of a certificate for the files of :class:`FileCase`.
FILES = {"certFile": "a.pem", "keyFile": "a.key"}


class FileCase(SynchronousTestCase):
    """A directory with a configuration, and files beside it."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.write("a.pem", LEAF.pem)
        self.write("a.key", LEAF.key_pem)
        self.write("ca.pem", CA.pem)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(
        self, of_route: Any = None, /, *, targets: Any = None, match: Any = None, **top: Any
    ) -> Settings:
        action: dict[str, Any] = {} if of_route is None else {"tls": of_route}
        if targets is not None:
            action["targets"] = targets
        value = {**top, "routes": [route(action=action, match=match)]}
        return Settings.load(self.write("proxy.json", as_json(value)))

    def plan(self, *args: Any, **options: Any) -> ProxyPlan:
        return self.load(*args, **options).compile()

    def terminated(self, certificate: Any = None, **tls: Any) -> Any:
        """The plan of a route that shows ``certificate``."""
        shown = {} if certificate is None else {"certificate": certificate}
        return self.plan({"mode": "terminate", **shown, **tls}).routes[0].tls

    def refused(self, *args: Any, **options: Any) -> list[str]:
        """Every problem, less the name of the file."""
        raised = self.assertRaises(ConfigurationError, self.load, *args, **options)
        file = str(self.folder / "proxy.json")
        return [problem.removeprefix(f"{file}:").partition(": ")[2] for problem in raised.problems]

    def refused_certificate(self, certificate: Any, **tls: Any) -> list[str]:
        return [
            problem.removeprefix("routes[0].action.tls.").replace(f"{self.folder}/", "")
            for problem in self.refused({"mode": "terminate", "certificate": certificate, **tls})
        ]
