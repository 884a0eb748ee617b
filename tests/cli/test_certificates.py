"""``smartproxy certificates`` and ``smartproxy certificates renew`` against the real admin API."""

from __future__ import annotations

import json
import os
import re
import sys
from io import StringIO
from unittest import mock

from click.shell_completion import ShellComplete
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smartproxy.cli import main
from smartproxy.cli.certificates import LONGEST_WAIT, _show, certificates
from smartproxy.model.certificate_status import ShownAcme, ShownCertificate, ShownStaple
from smartproxy.model.plan import AdminPlan
from tests.admin.doubles import Listener
from tests.cli.test_remote import FailingAgent, RemoteCase

#: 2026-01-02 03:04:05.678 UTC.
AT, DATE = 1767323045.678, "2026-01-02T03:04:05.678Z"


def automatic(*names, at=AT, **acme):
    """An automatic certificate as the proxy reports it; ``at=None`` is one that is not issued yet."""
    state = acme.pop("state", "issued")
    return ShownCertificate(
        names,
        "ACME",
        "P256" if at else "",
        at,
        f"{at:.0f}" if at else "",
        False,
        acme=ShownAcme(state, **acme),
    )


def failed(why, failures, **more):
    return automatic("b.example", state="failed", last_error=why, last_error_at=AT, failures=failures, **more)


def from_file(staple=ShownStaple("good", AT + 1, "late")):  # noqa: B008 - a tuple
    return ShownCertificate(("a.example", "*.a.example"), "a.pem", "P256", AT, "ab" * 32, True, staple)


class ListTests(RemoteCase):
    def setUp(self):
        super().setUp()
        self.control.shown = [from_file()]

    def table(self, *shown):
        self.control.shown = list(shown)
        result = self.run_command(certificates)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def test_certificates_prints_a_table(self):
        printed = self.run_command(certificates).output
        for text in ("a.example, *.a.example", DATE, "P256", "default", "a.pem"):
            self.assertIn(text, printed)

    def test_table_has_the_ocsp_status_or_why_there_is_none(self):
        for staple, cell in (
            (ShownStaple("good", AT + 1, "late"), "good until 2026-01-02T03:04:06.678Z"),
            (ShownStaple("none", None, "no responder"), " none "),
            (ShownStaple("failed", None, "refused\x1b"), "failed: refused\\x1b"),
            (ShownStaple("revoked", AT + 1, "key lost"), "revoked: key lost"),
        ):
            self.assertIn(cell, self.table(from_file(staple)))

    def test_json_has_every_key_of_the_api(self):
        [shown] = json.loads(self.run_command(certificates, "--json").output)["certificates"]
        self.assertEqual(
            shown,
            {
                "names": ["a.example", "*.a.example"],
                "source": "a.pem",
                "kind": "P256",
                "notAfter": DATE,
                "fingerprint": "ab" * 32,
                "default": True,
                "ocsp": {"status": "good", "nextUpdate": "2026-01-02T03:04:06.678Z", "detail": "late"},
                "acme": None,
            },
        )

    def test_orders_have_columns_only_where_one_is_automatic(self):
        """Most proxies have certificates from files only, and terminals are narrow."""
        self.assertNotIn("next try", self.table(from_file()))
        printed = self.table(from_file(), automatic("b.example"))
        self.assertEqual(
            printed.split("\n")[1].split(),
            ["names", "expires", "kind", "ocsp", "source", "next", "try", "error"],
        )

    def test_table_says_when_an_order_is_made_and_why_one_failed(self):
        for shown, cells in (
            (automatic("b.example", next_try=AT + 60), [" 2026-01-02T03:04Z ", " 2026-01-02T03:05Z "]),
            (automatic("b.example", state="ordering"), [" now "]),
            (automatic("b.example", at=None, state="waiting"), ["not issued yet"]),
            (failed("dns: no\x1b TXT", 1), ["dns: no\\x1b TXT  "]),
            (failed("caa: x", 3), ["caa: x (3 failures)"]),
        ):
            printed = self.table(from_file(), shown)
            for cell in cells:
                self.assertIn(cell, printed)

    def in_terminal(self, width):
        """The lines of the list in a terminal of ``width``, without styles."""

        class Terminal(StringIO):
            def isatty(self):
                return True

        shown = json.loads(self.run_command(certificates, "--json").output)["certificates"]
        self.patch(sys, "stdout", Terminal())
        with mock.patch.dict(os.environ, {"COLUMNS": str(width), "TERM": "xterm"}):
            _show(shown)
        return re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue()).rstrip("\n").split("\n")

    def test_a_narrow_terminal_has_whole_errors_below_the_table(self):
        """An authority explains in a sentence or two, which a column of 20 characters would make unreadable."""
        words = "the authority could not connect " * 8
        self.control.shown = [automatic("a.example", next_try=AT), failed(words + "\x1b", 2, next_try=AT)]
        *table, last = self.in_terminal(80)
        self.assertEqual(last, f"b.example: {words}\\x1b (2 failures)")
        self.assertLessEqual(max(map(len, table)), 80)
        self.assertEqual("".join(table).count("2026-01-02T03:04Z"), 4)

    def test_a_wide_terminal_wraps_errors_in_their_column(self):
        words = " ".join(f"word-{number:02d}" for number in range(40))
        self.control.shown = [failed(words, 1, next_try=AT)]
        lines = self.in_terminal(140)
        self.assertLessEqual(max(map(len, lines)), 140)
        self.assertEqual(re.findall(r"word-\d\d", "\n".join(lines)), words.split())

    def test_the_token_and_listener_of_the_group_are_used(self):
        self.run_command(certificates, "--admin", ":5", "--token", "s3cret")
        (admin,) = self.admins
        self.assertEqual((admin.url, admin.token), ("http://127.0.0.1:5", "s3cret"))


class RenewTests(RemoteCase):
    """The clock goes on by a second until the command has ended."""

    def setUp(self):
        super().setUp()
        self.orders = [automatic("b.example", "*.b.example", state="ordering", at=AT)]
        self.control.shown = list(self.orders)

    def react(self, main):
        ended = []
        Deferred.fromCoroutine(main(self.clock)).addBoth(ended.append)
        while not ended:
            self.pass_second()
        (result,) = ended
        raise result.value if isinstance(result, Failure) else SystemExit(0)

    def pass_second(self):
        """The order has one state more in each second; the last one stays."""
        if len(self.orders) > 1:
            del self.orders[0]
        shown = self.orders[0]
        self.control.shown = [from_file(), *(shown if isinstance(shown, list) else [shown])]
        self.clock.advance(1)

    def renew(self, *arguments, **more):
        return self.run_command(certificates, "renew", *arguments, **more)

    def test_renew_waits_for_the_new_certificate(self):
        ordering, issued = self.orders[0], automatic("*.b.example", "b.example", at=AT + 60, next_try=AT)
        self.orders += [ordering, ordering, issued]
        result = self.renew("*.b.example")
        self.assertEqual(
            (result.exit_code, result.stdout),
            (0, "*.b.example: renewed, valid until 2026-01-02T03:05:05.678Z\n"),
        )
        self.assertEqual((self.control.renewed, self.clock.seconds()), (["*.b.example"], 3))

    def test_renew_waits_for_each_certificate_that_has_the_name(self):
        """Another one that has none of its names is not waited for."""
        other = automatic("c.example", at=AT)
        former = [automatic("b.example", at=AT), automatic("b.example", "c.example", at=AT + 1)]
        first = [automatic("b.example", at=AT + 60), former[1]]
        both = [first[0], automatic("b.example", "c.example", at=AT + 120)]
        self.orders = [[other, *each] for each in (former, former, first, both)]
        self.control.shown = self.orders[0]
        result = self.renew("B.Example.")
        self.assertEqual((result.exit_code, self.clock.seconds()), (0, 3), result.output)
        self.assertEqual(
            result.stdout,
            "b.example: renewed, valid until 2026-01-02T03:05:05.678Z\n"
            "b.example, c.example: renewed, valid until 2026-01-02T03:06:05.678Z\n",
        )

    def test_failure_of_one_of_several_orders_exits_1_after_the_others(self):
        """It may be a moment's; the certificates of the others are in force all the same."""
        former = [automatic("b.example", at=AT), automatic("b.example", "c.example", at=AT + 1)]
        failing = automatic("b.example", at=AT, state="failed", last_error="timed out")
        ordering = automatic("b.example", "c.example", at=AT + 1, state="ordering")
        issued = automatic("b.example", "c.example", at=AT + 120)
        self.orders = [former, [failing, ordering], [failing, issued]]
        self.control.shown = former
        result = self.renew("b.example")
        self.assertEqual((result.exit_code, self.clock.seconds()), (1, 2), result.output)
        self.assertEqual(
            result.stdout, "b.example, c.example: renewed, valid until 2026-01-02T03:06:05.678Z\n"
        )
        self.assertEqual(result.stderr, "b.example: not renewed: timed out\n")

    def test_a_failed_order_exits_1_with_its_error(self):
        """Also where the former certificate is still valid: the user has asked for a new one."""
        for at in (None, AT):
            failed = automatic(
                "b.example",
                "*.b.example",
                at=at,
                state="failed",
                last_error="connection: timed out\x1b",
                next_try=AT,
            )
            self.orders = [automatic("b.example", "*.b.example", state="ordering"), failed]
            self.control.shown = self.orders[:1]
            result = self.renew("b.example")
            self.assertEqual((result.exit_code, result.stdout), (1, ""))
            self.assertEqual(
                result.stderr, f"b.example: not renewed: connection: timed out\\x1b; next try at {DATE}\n"
            )

    def test_the_former_certificate_is_not_taken_for_a_new_one(self):
        """A proxy that drains orders nothing, and a new certificate is in force a moment after its order has ended."""
        former = automatic("b.example", "*.b.example", at=AT)
        waiting = automatic("b.example", "*.b.example", at=None, state="waiting")
        self.orders = [former, former, waiting, former]
        self.control.shown = self.orders[:1]
        result = self.renew("b.example")
        self.assertEqual((result.exit_code, self.clock.seconds()), (1, LONGEST_WAIT))
        self.orders = [former, former, former, automatic("b.example", "*.b.example", at=AT + 60)]
        self.control.shown = self.orders[:1]
        self.assertEqual(self.renew("b.example").exit_code, 0)

    def test_no_wait_prints_what_was_ordered(self):
        result = self.renew("b.example", "--no-wait")
        self.assertEqual(
            (result.exit_code, result.stdout), (0, "b.example: ordered (b.example, *.b.example)\n")
        )
        self.assertEqual((self.control.renewed, self.clock.seconds()), (["b.example"], 0))

    def test_a_long_order_is_given_up_after_two_minutes(self):
        result = self.renew("b.example")
        self.assertEqual((result.exit_code, self.clock.seconds()), (1, LONGEST_WAIT))
        self.assertEqual(
            result.stderr,
            "b.example: no new certificate within 120 s; smartproxy certificates shows how the order ends\n",
        )

    def test_a_certificate_removed_by_a_reload_is_reported(self):
        self.orders.append(automatic("c.example"))
        result = self.renew("b.example")
        self.assertEqual((result.exit_code, result.stderr), (1, "b.example: it is not configured any more\n"))

    def test_a_proxy_that_stops_meanwhile_is_reported(self):
        seconds = self.clock.advance
        self.patch(
            self.clock,
            "advance",
            lambda by: (self.use(FailingAgent(error.ConnectionRefusedError())), seconds(by)),
        )
        result = self.renew("b.example")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertIn("Connection was refused", result.stderr)

    def test_unknown_and_other_certificates_exit_1_with_the_reason(self):
        """409 is exit code 3 elsewhere: a port that is in use."""
        self.control.shown = [from_file()]
        for name, why in (
            ("x.example", "there is no certificate for 'x.example'"),
            ("\udcff", "there is no certificate for"),
            ("a.example", "the certificate for 'a.example' is read from 'a.pem'"),
        ):
            result = self.renew(name)
            self.assertEqual((result.exit_code, result.stderr.count("\n")), (1, 1), result.output)
            self.assertIn(f"refused: {why}", result.stderr)

    def test_wrong_usage_exits_2_and_sends_nothing(self):
        for words, said in (
            (("renew",), "Missing argument 'NAME'"),
            (("renew", ""), "NAME is empty"),
            (("--json", "renew", "b.example"), "--json is for the list, not for renew"),
            (("renw", "b.example"), "No such command 'renw'"),
        ):
            result = self.run_command(certificates, *words)
            self.assertEqual(result.exit_code, 2, words)
            self.assertIn(said, result.stderr)
        self.assertEqual(self.admins, [])

    def test_options_may_stand_before_or_after_the_word_renew(self):
        """Those after it win, and both win over the environment."""
        self.use(RequestTraversalAgent(Listener(self.control, AdminPlan(token="s3cret")).site.resource))
        for words in (
            ("--admin", ":5", "--token", "s3cret", "renew", "b.example", "--no-wait"),
            ("--admin", ":6", "renew", "b.example", "--no-wait", "--token", "s3cret", "--admin", ":5"),
        ):
            result = self.run_command(certificates, *words, env={"SMARTPROXY_TOKEN": "wrong"})
            self.assertEqual(
                (result.exit_code, self.admins[-1].url), (0, "http://127.0.0.1:5"), result.output
            )
        self.assertEqual(
            self.renew("b.example", "--no-wait", env={"SMARTPROXY_TOKEN": "s3cret"}).exit_code, 0
        )


class WordTests(RemoteCase):
    def test_renew_and_its_options_are_completed(self):
        def completed(words, typed):
            return [
                item.value
                for item in ShellComplete(main, {}, "smartproxy", "_X").get_completions(words, typed)
            ]

        self.assertEqual(completed(["certificates"], ""), ["renew"])
        self.assertEqual(completed(["certificates", "renew"], "--no"), ["--no-wait"])
        self.assertEqual(completed(["certificates"], "--j"), ["--json"])

    def test_other_words_lead_to_the_command(self):
        for word, meant in (("renew", "certificates renew NAME"), ("certs", "certificates")):
            self.assertIn(f"did you mean {meant}?", self.run_command(main, word).stderr)
