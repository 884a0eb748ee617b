"""Arguments of a wrong type in the Python API: each is refused where it is given, with the name of what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import (
    Refused,
    Settings,
    certificate_from_pem,
    http_respond,
    self_signed_certificate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT: Any = "red.apps.example"
BYTES: Any = b"routes: []"


class WrongArgumentsTests(SynchronousTestCase):
    def _assert_refused(self, message: str, function: Callable[..., object], *arguments: object) -> None:
        self.assertEqual(str(self.assertRaises(TypeError, function, *arguments)), message)

    def test_one_name_is_no_list_of_names(self) -> None:
        """Its letters would be the names of the certificate."""
        self._assert_refused(
            "names must be a list of names: write ['red.apps.example']", self_signed_certificate, TEXT
        )

    def test_a_certificate_is_bytes(self) -> None:
        self._assert_refused("chain must be bytes (got str)", certificate_from_pem, TEXT, b"")
        self._assert_refused("key must be bytes (got str)", certificate_from_pem, b"", TEXT)
        self._assert_refused("secret must be bytes (got str)", certificate_from_pem, b"", b"", TEXT)

    def test_a_body_is_bytes(self) -> None:
        self._assert_refused("a body must be bytes (got str)", http_respond, TEXT)

    def test_a_reason_is_a_reject_reason(self) -> None:
        self._assert_refused(
            "reason must be a RejectReason, like RejectReason.NO_ROUTE (got 'red.apps.example')",
            Refused,
            TEXT,
        )

    def test_a_configuration_is_text(self) -> None:
        self._assert_refused("text must be a str (got bytes)", Settings.parse, BYTES, "yaml")
