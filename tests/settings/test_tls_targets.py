"""TLS towards targets: the compiled plan, and every reason to refuse it."""

from __future__ import annotations

from typing import Any

from smartproxy.model.plan import OriginationPlan
from tests.settings.formats import as_json
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

    def test_server_name_is_a_name_an_address_or_that_of_the_client(self) -> None:
        for written, name, of_client in (
            ("b.example", "b.example", False),
            ("B.Example.", "b.example", False),
            ("b\u00fccher.example", "xn--bcher-kva.example", False),
            ("_service.example", "_service.example", False),
            ("192.0.2.1", "192.0.2.1", False),
            ("2001:db8::1", "2001:db8::1", False),
            ("{domain}", None, True),
        ):
            made = self.target(tls={"serverName": written})
            self.assertEqual((made.server_name, made.client_name), (name, of_client))

    def test_server_name_that_no_certificate_has_is_refused(self) -> None:
        for written in (
            "b.t:443", "*.b.t", "*", "[::1]", "fe80::1%eth0", "a..b", "10.0.0.300", "https://b.t", "b t",
            "{host}", "{domain}.t", "-b.t", "x" * 64 + ".t", "",
        ):  # fmt: skip
            [told] = self.refused(targets=[{"host": "h", "port": 1, "tls": {"serverName": written}}])
            self.assertTrue(
                told.startswith(
                    "routes[0].action.targets[0].tls.serverName: "
                    'must be a host name or an IP address, without a port, or "{domain}"'
                ),
                told,
            )

    def test_session_reuse_can_be_switched_off(self) -> None:
        self.assertTrue(self.target(tls=True).session_reuse)
        self.assertFalse(self.target(tls={"sessionReuse": False}).session_reuse)

    def test_files_of_targets_and_client_authorities_are_watched(self) -> None:
        self.write("crl.pem", CA.crl())
        tls = {
            "mode": "terminate",
            "certificate": {"certFile": "a.pem", "keyFile": "a.key"},
            "clientAuth": {"mode": "require", "ca": "ca.pem", "crl": "crl.pem"},
        }
        self.write("other.pem", CA.pem)
        self.write("own.pem", LEAF.pem + LEAF.key_pem)
        target = {"host": "h", "port": 1, "tls": {"ca": "other.pem", "certFile": "own.pem"}}
        made = self.plan(tls, targets=[target])
        names = sorted(file.removeprefix(f"{self.folder}/") for file in made.tls.files)
        self.assertEqual(names, ["ca.pem", "crl.pem", "other.pem", "own.pem"])
        self.assertEqual(self.plan(targets=[{"host": "h", "port": 1, "tls": True}]).tls.files, {})

    def test_verify_false_is_a_warning(self) -> None:
        targets = [{"host": "h", "port": 1, "tls": {"verify": False}}]
        [warning] = self.load(targets=targets).warnings()
        self.assertIn(
            "routes[0].action.targets[0].tls.verify: is false: any server that answers is accepted as the target",
            warning,
        )

    def unusable(self) -> tuple[tuple[dict[str, Any], str], ...]:
        """Keys of TLS towards a target, and the problem with them."""
        return (
            ({"ca": "no.pem"}, f"ca: {self.folder}/no.pem: cannot be read: No such file or directory"),
            ({"keyFile": "a.key"}, "keyFile: has no meaning without certFile"),
            ({"ca": "ca.pem", "verify": False}, "ca: has no meaning where verify is false"),
            ({"certFile": "ca.pem", "keyFile": "a.key"}, "keyFile: the key does not match the certificate "),
        )

    def test_unusable_tls_of_a_check_is_refused(self) -> None:
        """It was found out only when the configuration was compiled, and named no line: a reload was an internal error."""
        one: dict[str, Any] = {"host": "h", "port": 1}
        for tls, problem in self.unusable():
            check = {"type": "http", "tls": tls}
            for place, told in (
                ("defaults", self.refused(targets=[one], defaults={"healthCheck": check})),
                ("routes[0].action.targets[0]", self.refused(targets=[{**one, "healthCheck": check}])),
                (
                    "targetGroups.g",
                    self.refused(targets=[one], targetGroups={"g": {"targets": [one], "healthCheck": check}}),
                ),
                (
                    "targetGroups.g.targets[0]",
                    self.refused(
                        targets=[one], targetGroups={"g": {"targets": [{**one, "healthCheck": check}]}}
                    ),
                ),
            ):
                self.assertEqual(len(told), 1, told)
                self.assertTrue(told[0].startswith(f"{place}.healthCheck.tls.{problem}"), told)

    def test_unusable_tls_of_a_check_in_a_targets_file_is_refused(self) -> None:
        check = {"type": "http", "tls": {"ca": "no.pem"}}
        self.write("more.json", as_json([{"host": "h", "port": 1, "healthCheck": check}]))
        one = {"host": "h", "port": 2}
        [told] = self.refused(
            targets=[one], targetGroups={"g": {"targets": [one], "targetsFile": "more.json"}}
        )
        self.assertIn("targets[0].healthCheck.tls.ca: ", told)

    def test_unusable_target_tls_is_refused(self) -> None:
        for tls, problem in self.unusable():
            [told] = self.refused(targets=[{"host": "h", "port": 1, "tls": tls}])
            self.assertTrue(told.startswith(f"routes[0].action.targets[0].tls.{problem}"), told)

    def test_upstream_needs_reencryption(self) -> None:
        self.assertEqual(
            self.refused_certificate(FILES, upstream={"verify": True}),
            ['upstream: has no meaning for mode "terminate"'],
        )
