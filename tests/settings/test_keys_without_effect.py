"""Warnings about keys that are valid where they are written and have no effect there; and the same keys where they have one."""

from __future__ import annotations

from tests.settings.test_likely_mistakes import TO_HOST, second, warnings_of, written
from tests.settings.tls_case import FileCase

TERMINATED = f"{TO_HOST}, tls: {{mode: terminate, certificate: selfSigned}}"


class TlsTests(FileCase):
    def test_tls_that_no_route_terminates_is_a_warning(self) -> None:
        """The mode is easily forgotten: then clients get the certificate of the target, or none."""
        for key, value in (("minVersion", "'1.3'"), ("profile", "modern")):
            [line] = warnings_of(written(top=f"tls: {{{key}: {value}}}"))
            self.assertTrue(line.startswith(f"x.yaml:1: tls.{key}: is used by no route: write "), line)
        found = self.load(tls={"certificates": "."}).warnings()
        self.assertEqual(
            len([line for line in found if "tls.certificates: is used by no route" in line]), 1, found
        )

    def test_tls_that_a_route_terminates_causes_none(self) -> None:
        top = "tls: {minVersion: '1.3', profile: modern}"
        self.assertEqual(warnings_of(written(top=top, action=TERMINATED)), [])
        self.assertEqual(warnings_of(written(top="tls: {maxHandshakes: 50}")), [])
        off = second("off", "ports: 81", TERMINATED).replace("name: off", "name: off\n    enabled: false")
        self.assertEqual(len(warnings_of(written(top=top, more=off))), 1)
