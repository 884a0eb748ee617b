"""Showing issued certificates, while the configuration and the files of certificates change."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.acme.service_case import CA, ServiceTestCase, entry


class ThreadTests(ServiceTestCase):
    """Selections are made in a thread, while the configuration and the files of certificates change."""

    def setUp(self) -> None:
        super().setUp()
        self.threads: list[tuple[Any, Deferred[Any]]] = []

    def in_thread(self, call: Any) -> Deferred[Any]:
        """Makes the selection now, and returns it when the test says."""
        later: Deferred[Any] = Deferred()
        self.threads.append((call(), later))
        return later

    def end_thread(self) -> None:
        result, later = self.threads.pop(0)
        later.callback(result)

    def test_reload_while_an_issued_certificate_is_shown_is_kept(self) -> None:
        """Otherwise clients of a new route get no certificate until the next change."""
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example"))
        leaf = CA.leaf("file.example").plan("file.pem")
        self.apply(entry("a.example"), leaf)
        while self.threads:
            self.end_thread()
        self.assertIsNotNone(self.shown(entry("a.example")))
        self.assertIsNotNone(self.shown(leaf))

    def test_removed_entry_is_not_shown_again(self) -> None:
        self.start(entry("a.example"), entry("b.example"))
        self.issuer.answer(self.issued("a.example"))
        self.apply(entry("b.example"))
        while self.threads:
            self.end_thread()
        self.assertEqual(list(self.store.certificates), [])

    def test_file_that_is_renewed_meanwhile_stays_renewed(self) -> None:
        former, renewed = (CA.leaf("file.example", number=one).plan("file.pem") for one in (1, 2))
        self.start(entry("a.example"), former)
        self.issuer.answer(self.issued("a.example"))
        self.store.show(self.store.changed({former: renewed}))
        while self.threads:
            self.end_thread()
        self.assertEqual(self.shown(former).plan, renewed)
        self.assertIsNotNone(self.shown(entry("a.example")))
