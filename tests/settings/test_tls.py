"""TLS of routes and of the whole proxy: the compiled plan, and every reason to refuse a certificate or a key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12

from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import CertificatePlan, ClientAuthPlan
from smartproxy.settings import Settings
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.profiles import PROFILES
from tests.settings.formats import as_json, route
from tests.settings.tls_case import CA, FILES, LEAF, RSA, FileCase
from tests.tls.made import DAY, PEM, Authority, as_pss, key, key_pem


class CertificateTests(FileCase):
    def same(self, plan: CertificatePlan, leaf: Any = LEAF) -> None:
        self.assertEqual((plan.chain, plan.key), (leaf.pem, leaf.key_pem))

    def test_two_files_relative_to_the_configuration(self) -> None:
        [made] = self.terminated(FILES).certificates
        self.same(made)
        self.assertEqual(made.files, (str(self.folder / "a.pem"), str(self.folder / "a.key")))
        self.assertEqual(made.source, str(self.folder / "a.pem"))

    def test_one_file_with_both(self) -> None:
        self.write("both.pem", LEAF.key_pem + LEAF.pem)
        self.same(self.terminated({"certFile": "both.pem"}).certificates[0])

    def test_inline_pem(self) -> None:
        [made] = self.terminated({"cert": LEAF.pem.decode(), "key": LEAF.key_pem.decode()}).certificates
        self.same(made)
        self.assertEqual(made.files, ())

    def test_pkcs12_with_and_without_a_passphrase(self) -> None:
        for secret, how in ((None, NoEncryption()), (b"x", BestAvailableEncryption(b"x"))):
            held = pkcs12.serialize_key_and_certificates(b"a", LEAF.key, LEAF.certificate, None, how)
            self.write("a.p12", held)
            self.write("secret", b"x\n")
            more = {"passphraseFile": "secret"} if secret else {}
            self.same(self.terminated({"pkcs12File": "a.p12", **more}).certificates[0])

    def test_an_encrypted_key(self) -> None:
        self.write("a.key", key_pem(LEAF.key, b"open sesame"))
        self.write("secret", b"open sesame\n")
        self.same(self.terminated({**FILES, "passphraseFile": "secret"}).certificates[0])
        self.patch(os, "environ", {**os.environ, "KEY_SECRET": "open sesame"})
        self.same(self.terminated({**FILES, "passphraseEnv": "KEY_SECRET"}).certificates[0])

    def test_list_of_key_types(self) -> None:
        self.write("rsa.pem", RSA.key_pem + RSA.pem)
        first, second = self.terminated([FILES, {"certFile": "rsa.pem"}]).certificates
        self.same(first)
        self.same(second, RSA)

    def test_self_signed_has_the_domains_of_the_route(self) -> None:
        made = self.plan(
            {"mode": "terminate", "certificate": "selfSigned"},
            match={"domains": ["A.example", "*.b.example"]},
        )
        [plan] = made.routes[0].tls.certificates
        self.assertTrue(plan.self_signed)
        self.assertEqual(Certificate(plan).names, ("a.example", "*.b.example"))

    def test_callable_chooses_the_certificate(self) -> None:
        def choose(_name: str | None) -> None: ...

        made = Settings.model_validate(
            {"routes": [route(action={"tls": {"mode": "terminate", "certificate": choose}})]}
        )
        self.assertIs(made.compile().routes[0].tls.certificate_for, choose)

    def test_repr_of_plan_has_no_private_key(self) -> None:
        self.assertNotIn("PRIVATE", repr(self.terminated(FILES)))

    def test_reread_returns_the_new_files(self) -> None:
        [made] = self.terminated(FILES).certificates
        newer = CA.leaf("a.example", end=60 * DAY)
        self.write("a.pem", newer.pem)
        self.write("a.key", newer.key_pem)
        self.same(made.reread(), newer)


class RefusedCertificateTests(FileCase):
    def test_missing_file_is_reported(self) -> None:
        self.assertEqual(
            self.refused_certificate({"certFile": "no.pem", "keyFile": "a.key"}),
            ["certificate.certFile: no.pem: cannot be read: No such file or directory"],
        )

    def test_missing_file_is_reported_with_its_line(self) -> None:
        text = (
            "routes:\n- name: web\n  match: {ports: 443}\n  action:\n    targets: [{host: h, port: 1}]\n"
            "    tls:\n      mode: terminate\n      certificate:\n        certFile: a.pem\n        keyFile: no.key\n"
        )
        file, missing = self.write("proxy.yaml", text), self.folder / "no.key"
        raised = self.assertRaises(ConfigurationError, Settings.load, file)
        [problem] = raised.problems
        place = f"{file}:10: routes[0].action.tls.certificate.keyFile: {missing}: "
        self.assertEqual(problem, f"{place}cannot be read: No such file or directory")

    def test_key_of_another_certificate_is_refused(self) -> None:
        self.write("a.key", key_pem(key("ec", 1)))
        self.assertEqual(
            self.refused_certificate(FILES),
            ["certificate.keyFile: the key does not match the certificate a.pem"],
        )

    def test_chain_in_wrong_order_is_refused(self) -> None:
        made = Authority("middle", above=CA).leaf("a.example")
        self.write("a.pem", b"".join(reversed([made.pem[: made.pem.index(b"-----END") + 26], CA.pem])))
        [problem] = self.refused_certificate(FILES)
        self.assertIn("the certificate of the key must come first", problem)

    def test_expired_and_future_certificates_are_refused(self) -> None:
        for times, why in (
            ({"start": -9 * DAY, "end": -DAY}, "expired on "),
            ({"start": DAY}, "is not valid before "),
        ):
            self.write("a.pem", CA.leaf("a.example", **times).pem)
            [problem] = self.refused_certificate(FILES)
            self.assertTrue(problem.startswith(f"certificate.certFile: a.pem: {why}"), problem)

    def test_weak_key_is_refused(self) -> None:
        weak = CA.leaf("a.example", kind="weak")
        self.write("a.pem", weak.pem)
        self.write("a.key", weak.key_pem)
        self.assertEqual(
            self.refused_certificate(FILES),
            ["certificate.certFile: a.pem: has an RSA key of 1024 bits; the minimum is 2048"],
        )

    def test_rsa_pss_key_is_refused(self) -> None:
        """Every handshake with it would fail: cryptography turns such a key into a plain RSA key."""
        plain = CA.leaf("a.example", kind="rsa")
        self.write("a.key", plain.key_pem)
        self.write("a.pem", as_pss(plain.certificate))
        self.assertEqual(
            self.refused_certificate(FILES),
            [
                "certificate.certFile: a.pem: has an RSA-PSS key, which is not supported; use an RSA or an ECDSA key"
            ],
        )

    def test_curve_that_tls_does_not_use_is_refused(self) -> None:
        curved = CA.leaf("a.example", kind="k1")
        self.write("a.pem", curved.pem + curved.key_pem)
        self.assertEqual(
            self.refused_certificate({"certFile": "a.pem"}),
            ["certificate.certFile: a.pem: has a key of a type that TLS does not use"],
        )

    def test_files_without_certificate_or_key_are_refused(self) -> None:
        self.write("x.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.write("request.pem", b"-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n")
        for certificate, problem in (
            ({"certFile": "x.pem"}, "certificate.certFile: x.pem: contains no PEM certificate, or a malformed one"),
            ({"certFile": "a.pem"},
             "certificate.certFile: a.pem: contains no PEM private key; name the file of its key with keyFile"),
            ({"certFile": "a.pem", "keyFile": "x.pem"},
             "certificate.keyFile: x.pem: contains no PEM private key; it holds a certificate"),
            ({"certFile": "a.key", "keyFile": "a.key"},
             "certificate.certFile: a.key: contains no PEM certificate, or a malformed one; it holds a private key"),
            ({"certFile": "request.pem"},
             ("certificate.certFile: request.pem: contains no PEM certificate, or a malformed one; it holds a certificate "
              "request, which an authority has to sign first")),
            ({"pkcs12File": "a.pem"},
             "certificate.pkcs12File: a.pem: cannot be opened: it has a passphrase, or it is not PKCS#12"),
        ):  # fmt: skip
            self.assertEqual(self.refused_certificate(certificate), [problem])

    def test_swapped_certificate_and_key_are_named_as_swapped(self) -> None:
        swapped = {"certFile": "a.key", "keyFile": "a.pem"}
        self.assertEqual(
            self.refused_certificate(swapped),
            [
                (
                    "certificate.certFile: a.key: is a private key, and keyFile a certificate: certFile and keyFile are "
                    "swapped"
                )
            ],
        )
        inline = {"cert": LEAF.key_pem.decode(), "key": LEAF.pem.decode()}
        [line] = self.refused_certificate(inline)
        self.assertTrue(
            line.endswith("cert: is a private key, and key a certificate: cert and key are swapped"), line
        )

    def test_missing_or_wrong_passphrase_is_reported(self) -> None:
        self.write("a.key", key_pem(LEAF.key, b"open sesame"))
        self.write("secret", b"open barley")
        for more, problem in (
            ({}, "certificate.keyFile: a.key: is encrypted; set its passphrase with passphraseFile or passphraseEnv"),
            ({"passphraseFile": "secret"}, "certificate.keyFile: a.key: cannot be decrypted with this passphrase"),
            ({"passphraseEnv": "NOT_SET_ANYWHERE"}, "certificate.passphraseEnv: NOT_SET_ANYWHERE is not set in the environment"),
        ):  # fmt: skip
            self.assertEqual(self.refused_certificate({**FILES, **more}), [problem])

    def test_needless_passphrase_is_accepted(self) -> None:
        self.write("secret", b"x")
        self.assertEqual(len(self.terminated({**FILES, "passphraseFile": "secret"}).certificates), 1)

    def test_contradicting_certificate_keys_are_refused(self) -> None:
        for certificate, problem in (
            ({}, "certificate: must have one of certFile, cert and pkcs12File"),
            (
                {"certFile": "a.pem", "cert": "x"},
                "certificate: must have one of certFile, cert and pkcs12File",
            ),
            ({"cert": "x"}, "certificate.key: is required with cert"),
            ({"pkcs12File": "x", "keyFile": "a.key"}, "certificate.keyFile: has no meaning without certFile"),
        ):
            self.assertIn(problem, self.refused_certificate(certificate)[0])

    def test_termination_without_certificate_is_refused(self) -> None:
        self.assertEqual(
            self.refused({"mode": "terminate"}),
            ["routes[0].action.tls.certificate: is required where there is no tls.certificates"],
        )

    def test_files_of_disabled_route_are_not_read(self) -> None:
        off = route("off", action={"tls": {"mode": "terminate", "certificate": {"certFile": "no.pem"}}})
        value = {"routes": [route(), {**off, "enabled": False}]}
        Settings.load(self.write("proxy.json", as_json(value))).compile()


class DirectoryTests(FileCase):
    def store(self, **tls: Any) -> Any:
        return self.plan({"mode": "terminate"}, tls={"certificates": "certs", **tls}).tls

    def test_pairs_are_found_whatever_their_file_names(self) -> None:
        middle = Authority("middle", above=CA)
        live = middle.leaf("live.example", kind="rsa")
        only = live.certificate.public_bytes(PEM)
        self.write("certs/live/live.example/cert.pem", only)
        self.write("certs/live/live.example/chain.pem", middle.pem)
        self.write("certs/live/live.example/fullchain.pem", live.pem)
        self.write("certs/live/live.example/privkey.pem", live.key_pem)
        self.write("certs/both.pem", LEAF.pem + LEAF.key_pem)
        self.write("certs/README", b"not a certificate")
        self.write("certs/.hidden/x.pem", b"-----BEGIN CERTIFICATE-----")
        found = {Certificate(plan).names: len(Certificate(plan).chain) for plan in self.store().certificates}
        self.assertEqual(found, {("a.example",): 1, ("live.example",): 2})

    def test_newest_certificate_of_one_key_and_names_is_used(self) -> None:
        self.write("certs/key.pem", LEAF.key_pem)
        self.write("certs/old.pem", LEAF.pem)
        self.write("certs/new.pem", CA.leaf("a.example", end=60 * DAY).pem)
        self.write("certs/other.pem", CA.leaf("b.example").pem)
        found = sorted(Path(plan.source).name for plan in self.store().certificates)
        self.assertEqual(found, ["new.pem", "other.pem"])

    def test_each_unusable_entry_is_a_warning_with_its_file(self) -> None:
        self.write("certs/a.pem", LEAF.pem)
        self.write(
            "certs/b.pem", RSA.key_pem + CA.leaf("b.example", kind="rsa", start=-9 * DAY, end=-DAY).pem
        )
        self.write("certs/c.key", key_pem(key("ec", 2), b"x"))
        settings = self.load({"mode": "terminate"}, tls={"certificates": "certs"})
        told = "\n".join(settings.warnings())
        self.assertIn("certs/a.pem: there is no private key for it; it is left out", told)
        self.assertIn("certs/b.pem: expired on ", told)
        self.assertIn("certs/c.key: is encrypted", told)
        self.assertEqual(settings.compile().tls.certificates, ())

    def test_default_in_a_file_that_is_left_out_is_a_warning(self) -> None:
        """One expired certificate must not prevent a start, whichever it is."""
        self.write("certs/good.pem", LEAF.pem + LEAF.key_pem)
        self.write(
            "certs/b.pem", RSA.key_pem + CA.leaf("b.example", kind="rsa", start=-9 * DAY, end=-DAY).pem
        )
        settings = self.load({"mode": "terminate"}, tls={"certificates": "certs", "default": "b.example"})
        self.assertEqual(len(settings.compile().tls.certificates), 1)
        told = "\n".join(settings.warnings())
        self.assertIn('tls.default: is in no certificate that can be used (got "b.example")', told)

    def test_reload_reads_unchanged_files_of_the_directory_once(self) -> None:
        os.utime(self.write("certs/good.pem", LEAF.pem + LEAF.key_pem), (1_000_000, 1_000_000))
        settings = self.load({"mode": "terminate"}, tls={"certificates": "certs"})
        [before] = settings.compile().tls.certificates
        [after] = settings.again().compile().tls.certificates
        self.assertIs(before, after)

    def test_missing_directory_is_reported(self) -> None:
        [problem] = self.refused({"mode": "terminate"}, tls={"certificates": "certs"})
        self.assertTrue(
            problem.startswith(f"tls.certificates: {self.folder}/certs: does not exist: create it")
        )

    def test_empty_directory_is_a_warning(self) -> None:
        (self.folder / "certs").mkdir()
        [warning] = self.load({"mode": "terminate"}, tls={"certificates": "certs"}).warnings()
        self.assertIn('tls.certificates: contains no certificate (got "certs")', warning)

    def test_default_may_be_an_address_of_a_certificate(self) -> None:
        for number, address in enumerate(("192.0.2.1", "2001:db8::1")):
            leaf = CA.leaf(address, number=number)
            self.write(f"certs/{number}.pem", leaf.pem + leaf.key_pem)
        self.assertEqual(self.store(default="192.0.2.1").default, "192.0.2.1")
        self.assertEqual(self.store(default="2001:DB8:0::1").default, "2001:db8::1")
        self.assertEqual(
            self.refused({"mode": "terminate"}, tls={"certificates": "certs", "default": "192.0.2.2"}),
            ['tls.default: is in no certificate (got "192.0.2.2")'],
        )

    def test_chain_without_its_intermediate_is_a_warning(self) -> None:
        leaf = Authority("middle", above=CA).leaf("a.example")
        self.write("certs/a.pem", leaf.certificate.public_bytes(PEM) + leaf.key_pem)
        [warning] = self.load({"mode": "terminate"}, tls={"certificates": "certs"}).warnings()
        missing = "a.pem: the certificate of its issuer CN=middle is missing from its chain"
        self.assertTrue(warning.endswith(missing), warning)

    def test_default_must_be_a_name_of_a_certificate(self) -> None:
        self.write("certs/both.pem", LEAF.pem + LEAF.key_pem)
        self.assertEqual(self.store(default="A.example").default, "a.example")
        self.assertEqual(
            self.refused({"mode": "terminate"}, tls={"certificates": "certs", "default": "b.example"}),
            ['tls.default: is in no certificate (got "b.example")'],
        )


class OptionTests(FileCase):
    def test_profile_and_version_are_inherited(self) -> None:
        usual = self.terminated(FILES)
        self.assertEqual((usual.min_version, usual.ciphers), ("1.2", PROFILES["intermediate"].ciphers))
        made = self.plan({"mode": "terminate", "certificate": FILES}, tls={"profile": "modern"})
        self.assertEqual(made.routes[0].tls.min_version, "1.3")
        made = self.plan({"mode": "terminate", "certificate": FILES}, tls={"minVersion": "1.3"})
        self.assertEqual(made.routes[0].tls.min_version, "1.3")
        both = self.plan(
            {"mode": "terminate", "certificate": FILES, "profile": "intermediate"}, tls={"profile": "modern"}
        )
        self.assertEqual(both.routes[0].tls.min_version, "1.2")

    def test_custom_ciphers_keep_their_order(self) -> None:
        made = self.terminated(FILES, profile={"ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"})
        self.assertEqual((made.ciphers, made.own_order), ("ECDHE-ECDSA-AES256-GCM-SHA384", True))
        self.assertEqual(
            self.refused_certificate(FILES, profile={"ciphers": "NONE-OF-THIS"}),
            ['profile.ciphers: has no cipher that OpenSSL knows (got "NONE-OF-THIS")'],
        )
        self.assertEqual(
            self.refused_certificate(FILES, profile={"ciphersuites": "x"}),
            ['profile.ciphersuites: has no cipher that OpenSSL knows (got "x")'],
        )

    def test_modern_profile_refuses_tls_1_2(self) -> None:
        self.assertEqual(
            self.refused_certificate(FILES, profile="modern", minVersion="1.2"),
            ['minVersion: is 1.3 for profile "modern" (got 1.2)'.replace("got 1.2", 'got "1.2"')],
        )

    def test_inherited_modern_profile_refuses_tls_1_2(self) -> None:
        """Otherwise the route would refuse clients that it is said to serve."""
        tls = {"mode": "terminate", "certificate": FILES, "minVersion": "1.2"}
        self.assertEqual(
            self.refused(tls, tls={"profile": "modern"}),
            [
                'routes[0].action.tls.minVersion: is 1.3 for profile "modern" of tls at the top level (got "1.2")'
            ],
        )

    def test_client_auth_keys(self) -> None:
        self.write("crl.pem", CA.crl(LEAF))
        auth = {"mode": "require", "ca": "ca.pem", "crl": "crl.pem", "match": ["CN:robot"]}
        made = self.terminated(FILES, clientAuth=auth).client_auth
        self.assertEqual(
            made, ClientAuthPlan(True, CA.pem, (self.folder / "crl.pem").read_bytes(), ("CN:robot",))
        )
        made = self.terminated(FILES, clientAuth={"mode": "request", "ca": "ca.pem"}).client_auth
        self.assertEqual(made, ClientAuthPlan(False, CA.pem))
        self.assertIsNone(self.terminated(FILES, clientAuth={"mode": "none"}).client_auth)

    def test_contradicting_client_auth_is_refused(self) -> None:
        self.write("crl.pem", Authority("other").crl())
        self.write("old.pem", CA.crl(end=-DAY))
        for auth, problem in (
            ({"ca": "ca.pem"}, 'clientAuth.ca: has no meaning for mode "none"'),
            ({"mode": "require"}, 'clientAuth.ca: is required for mode "require"'),
            ({"mode": "request", "match": ["CN:x"]}, "clientAuth.match: has no meaning without ca"),
            ({"mode": "require", "ca": "a.key"}, "clientAuth.ca: a.key: contains no PEM certificate"),
            ({"mode": "require", "ca": "ca.pem", "crl": "ca.pem"}, "clientAuth.crl: ca.pem: contains no PEM revocation list"),
            ({"mode": "require", "ca": "ca.pem", "crl": "crl.pem"}, "clientAuth.crl: crl.pem: contains no revocation list of CN=test"),
            ({"mode": "require", "ca": "ca.pem", "crl": "old.pem"}, "clientAuth.crl: old.pem: expired on "),
            ({"mode": "require", "ca": "ca.pem", "match": ["robot"]}, "clientAuth.match[0]: must be a kind of name"),
        ):  # fmt: skip
            [told] = self.refused_certificate(FILES, clientAuth=auth)
            self.assertTrue(told.startswith(problem), told)

    def test_certificate_that_expires_soon_is_a_warning(self) -> None:
        self.write("a.pem", CA.leaf("a.example", end=5 * DAY).pem + CA.pem)
        [warning] = self.load({"mode": "terminate", "certificate": FILES}).warnings()
        self.assertIn("routes[0].action.tls.certificate: ", warning)
        self.assertIn("a.pem: expires on ", warning)
