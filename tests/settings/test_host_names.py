"""Host names in a configuration: those of the wire, without the ones that are more likely typing errors."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings.tables.types import HostName

ADAPTER: TypeAdapter[str] = TypeAdapter(HostName)
LONGEST = ".".join(["a" * 61] * 4) + "." + "a" * 5


class HostNameTests(SynchronousTestCase):
    def test_names_and_addresses_are_accepted(self) -> None:
        self.assertEqual(len(LONGEST), 253)
        for written in (
            "localhost", "WWW.Example.COM", "a.example.", "_srv.a--b.example", "3com.example", "192.0.2.1", "::1", LONGEST,
        ):  # fmt: skip
            self.assertEqual(ADAPTER.validate_python(written), written)

    def test_other_text_is_refused(self) -> None:
        for written in (
            "", ".", "a..b", "a b", "*.example", "a.example:443", "[::1]", "fe80::1%eth0", "b\xfccher.example", "\ud800",
            "\u017f.example", f"{LONGEST}a",
        ):  # fmt: skip
            self.assertRaises(ValidationError, ADAPTER.validate_python, written)

    def test_a_label_that_begins_or_ends_with_a_hyphen_is_refused(self) -> None:
        """RFC 1123, 2.1. Received names may have them, since some clients send them."""
        for written in ("-a.example", "a-.example", "a.-b.example", "a.example-", "-"):
            self.assertRaises(ValidationError, ADAPTER.validate_python, written)

    def test_a_name_that_ends_in_a_number_is_refused(self) -> None:
        """It is an address with a typing error: no top level domain is a number (RFC 3696, 2)."""
        for written in ("10.0.0.300", "10.0.0", "a.1", "1."):
            self.assertRaises(ValidationError, ADAPTER.validate_python, written)
