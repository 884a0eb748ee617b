"""``docs/refusals.rst`` explains every reason, and says what a client really sees."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.phases.reject import response_for
from smartproxy.wire import tls_alert
from smartproxy.wire.verdict import Done

PAGE = Path(__file__).resolve().parent.parent / "docs" / "refusals.rst"
FIELDS = ("Client", "Log", "Find", "Do")
#: Refused before anything is known of the client's protocol, so that no answer is possible.
UNANSWERED = {
    RejectReason.DRAINING,
    RejectReason.GLOBAL_LIMIT,
    RejectReason.IP_LIMIT,
    RejectReason.RATE_LIMIT,
    RejectReason.PROXY_HEADER_INVALID,
    RejectReason.PROXY_HEADER_MISSING,
    RejectReason.PROXY_HEADER_TIMEOUT,
}
#: Answered by what exactly failed: see ``refusal_response``.
BY_CAUSE = {RejectReason.TLS_ERROR, RejectReason.INITIAL_DATA_TIMEOUT}


def sections() -> dict[str, dict[str, str]]:
    """The fields of each section, by the reason in its heading."""
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^``(\w+)``\n~+\n", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {
        reason: dict(re.findall(r"^:(\w+): ((?:.+\n)+?)(?=:|\n|\Z)", body, re.MULTILINE))
        for reason, body in found.items()
    }


class RefusalsPageTests(SynchronousTestCase):
    def test_every_reason_has_a_section_and_no_other(self) -> None:
        headings = re.findall(r"^``(\w+)``\n~+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(sorted(headings), sorted([*CloseReason, *RejectReason]))

    def test_every_section_says_what_is_seen_and_what_to_do(self) -> None:
        for reason, fields in sections().items():
            self.assertEqual(tuple(fields), FIELDS, reason)

    def test_what_a_client_sees_is_what_is_sent(self) -> None:
        told = sections()
        for reason in set(RejectReason) - BY_CAUSE:
            client = told[reason.value]["Client"]
            status = re.search(r"HTTP (\d{3})", client)
            alert = re.search(r"TLS alert ``(\w+)``", client)
            if reason in UNANSWERED:
                self.assertIsNone(status or alert, reason)
                continue
            assert status is not None, reason
            assert alert is not None, reason
            self.assertEqual(
                status[1].encode(), response_for(ApplicationProtocol.HTTP, reason).split()[1], reason
            )
            sent = tls_alert.parse(response_for(ApplicationProtocol.TLS, reason))
            assert isinstance(sent, Done), reason
            self.assertEqual(alert[1], sent.value.description.name.lower(), reason)
