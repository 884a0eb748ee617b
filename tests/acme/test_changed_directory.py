"""Automatic certificates after a reload that names another directory, or another store."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from smartproxy.errors import AcmeError
from tests.acme.service_case import BEGAN, ServiceTestCase, entry

OTHER = "https://other.example/dir"


class DirectoryAndBackTests(ServiceTestCase):
    """The other authority may have wanted credentials, so that the operator has changed his mind."""

    def setUp(self) -> None:
        super().setUp()
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example", life=900.0))
        self.apply(entry("a.example"), directory=OTHER)
        self.clock.advance(1.0)
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def assert_not_ordered(self) -> None:
        self.apply(entry("a.example"))
        self.assertEqual(self.status(entry("a.example")).next_try, BEGAN + 600)
        self.advance(3)
        self.assertEqual(self.issuer.orders, [])
        self.assertEqual(self.status(entry("a.example"))[:4], ("issued", BEGAN + 600, "", None))

    def test_valid_certificate_is_not_ordered_again_after_a_failure(self) -> None:
        """Authorities issue a few certificates a week for the same names."""
        self.issuer.answer(AcmeError("no credentials"))
        self.assert_not_ordered()

    def test_valid_certificate_is_not_ordered_again_after_an_interrupted_order(self) -> None:
        self.assert_not_ordered()

    def test_certificate_of_the_other_directory_is_replaced(self) -> None:
        self.issuer.answer(self.issued("a.example", life=900.0, number=1))
        self.apply(entry("a.example"))
        self.advance(1)
        self.assertEqual(self.issuer.waiting, [("a.example",)])


class OtherStoreTests(ServiceTestCase):
    def test_store_of_a_reload_that_cannot_be_written_is_told_at_once(self) -> None:
        """No order is due for weeks."""
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example", life=900.0))
        self.path.write_text("a file in the place of the directory")
        with capturedLogs() as logged:
            self.apply(entry("a.example"))
            self.apply(entry("a.example"), email="other@a.example")
        self.assertEqual(
            [formatEvent(event) for event in logged],
            [f"certificates cannot be renewed: {self.path}: cannot be written: File exists"],
        )
