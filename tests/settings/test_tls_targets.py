"""TLS towards targets: the compiled plan, and every reason to refuse it."""

from __future__ import annotations

from typing import Any

from smartproxy.model.plan import OriginationPlan
from tests.settings.tls_case import CA, FILES, LEAF, FileCase


class UpstreamTests(FileCase):
    def target(self, of_route: Any = None, /, **target: Any) -> OriginationPlan | None:
        made = self.plan(of_route, targets=[{"host": "h", "port": 1, **target}])
        return made.routes[0].targets[0].tls

    def test_a_target_with_tls(self) -> None:
        self.assertIsNone(self.target())
        self.assertIsNone(self.target(tls=False))
        self.assertEqual(self.target(tls=True), OriginationPlan())
        made = self.target(
            tls={"ca": "ca.pem", "serverName": "b", "alpn": ["h2"], "minVersion": "1.3", **FILES}
        )
        self.assertEqual(
            (made.ca, made.server_name, made.alpn, made.min_version), (CA.pem, "b", ("h2",), "1.3")
        )
        self.assertEqual(made.certificate.chain, LEAF.pem)

    def test_reencryption_applies_to_targets_without_tls_key(self) -> None:
        tls = {"mode": "terminate-and-reencrypt", "certificate": FILES, "upstream": {"ca": "ca.pem"}}
        self.assertEqual(self.target(tls), OriginationPlan(ca=CA.pem))
        self.assertIsNone(self.target(tls, tls=False))
        self.assertEqual(self.target(tls, tls={"serverName": "x"}), OriginationPlan(server_name="x"))
        self.assertEqual(
            self.target({"mode": "terminate-and-reencrypt", "certificate": FILES}), OriginationPlan()
        )
        self.assertIsNone(self.target({"mode": "terminate", "certificate": FILES}))

    def test_verify_false_is_a_warning(self) -> None:
        targets = [{"host": "h", "port": 1, "tls": {"verify": False}}]
        [warning] = self.load(targets=targets).warnings()
        self.assertIn(
            "routes[0].action.targets[0].tls.verify: is false: any server that answers is accepted as the target",
            warning,
        )

    def test_unusable_target_tls_is_refused(self) -> None:
        for tls, problem in (
            ({"ca": "no.pem"}, f"ca: {self.folder}/no.pem: cannot be read: No such file or directory"),
            ({"keyFile": "a.key"}, "keyFile: has no meaning without certFile"),
            ({"ca": "ca.pem", "verify": False}, "ca: has no meaning where verify is false"),
            ({"certFile": "ca.pem", "keyFile": "a.key"}, "keyFile: does not match the certificate "),
        ):
            [told] = self.refused(targets=[{"host": "h", "port": 1, "tls": tls}])
            self.assertTrue(told.startswith(f"routes[0].action.targets[0].tls.{problem}"), told)

    def test_upstream_needs_reencryption(self) -> None:
        self.assertEqual(
            self.refused_certificate(FILES, upstream={"verify": True}),
            ['upstream: has no meaning for mode "terminate"'],
        )
