"""``smartproxy targets`` and ``smartproxy target`` against the real admin API."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.shell_completion import ShellComplete
from rich.cells import cell_len
from treq.testing import RequestTraversalAgent

from smartproxy.cli.admin_client import segment
from smartproxy.cli.completion import WholeWords
from smartproxy.cli.target_table import UNLIMITED, target_lines
from smartproxy.cli.targets import target, targets
from smartproxy.model.plan import GroupPlan, MatchPlan, RoutePlan, TargetPlan
from smartproxy.model.target_status import ShownCheck
from tests.admin.doubles import FakeControl, Listener
from tests.cli.test_remote import RemoteCase

SCREENS = Path(__file__).parent / "screens"
#: Names as targets have them, and as an operator may give them.
NAMES = (
    "127.0.0.1:9000",
    "[::1]:80",
    "unix:/run/app.sock",
    "a b",
    "100%41",
    "caf\u00e9",
    "a?b#c",
    "a%2Fb",
    "..",
)


def a_target(group, name, state="up", address=None, **more):
    """A target as the admin API shows it."""
    return {
        "group": group, "name": name, "address": address or name, "state": state, "why": None, "setByHand": False,
        "weight": 1, "effectiveWeight": 1, "backup": False, "connections": 0, "queued": 0, "bytesReceived": 0,
        "bytesSent": 0, "lastCheck": None,
    } | more  # fmt: skip


def check(detail, *, ok=True):
    return {"at": "2026-01-02T03:04:05.678Z", "ok": ok, "detail": detail}


SHOWN = [
    a_target("db", "one", address="10.0.0.1:5432", weight=10, effectiveWeight=2.5, connections=17, queued=3,
             bytesReceived=1_234_567, bytesSent=98_765_432, lastCheck=check("connected")),
    a_target("db", "two", "down", "10.0.0.2:5432", why="connection refused", effectiveWeight=0, queued=3,
             bytesReceived=50, lastCheck=check("connection refused", ok=False)),
    a_target("db", "spare", "drain", "10.0.0.9:5432", why="set by hand", setByHand=True, backup=True, effectiveWeight=0,
             connections=2, queued=3),
    a_target("web", "10.1.0.11:8080", setByHand=True, weight=3, effectiveWeight=3, connections=1204,
             bytesReceived=7_000_000_000, bytesSent=66_000_000_000),
    a_target("web", "10.1.0.12:8080", "ejected", why="10.1.0.12:8080: Connection timed out", effectiveWeight=0,
             bytesReceived=1000),
    a_target("web", "app.eastern.internal.example:8080", connections=1199),
]  # fmt: skip


class TargetCase(RemoteCase):
    def setUp(self):
        super().setUp()
        plans = tuple(TargetPlan(("10.0.0.1",), 9000, name=name) for name in NAMES)
        self.control = FakeControl(
            RoutePlan("web", 0, MatchPlan((range(80, 81),)), group=GroupPlan("a/b c", plans))
        )
        self.use(RequestTraversalAgent(Listener(self.control).site.resource))

    def group(self):
        return self.control.groups._groups.find("a/b c")

    def state(self, name):
        (shown,) = [one for one in self.control.groups.targets() if one.name == name]
        return shown


class SetByHandTests(TargetCase):
    def run_target(self, *arguments):
        return self.run_command(target, *arguments)

    def test_names_with_any_character_reach_the_proxy(self):
        for name in NAMES:
            result = self.run_target("a/b c", name, "drain")
            self.assertEqual(result.exit_code, 0, (name, result.output))
            self.assertEqual(self.state(name).state, "drain")
        self.assertEqual(segment("[::1]:80"), "%5B%3A%3A1%5D%3A80")

    def test_each_state_is_set_and_shown(self):
        name = NAMES[0]
        self.group().take("192.0.2.1")
        for what, state, printed in (
            ("drain", "drain", "drain by hand"), ("down", "down", "down by hand"), ("up", "up", "up"),
        ):  # fmt: skip
            result = self.run_target("a/b c", name, what)
            self.assertEqual((result.exit_code, self.state(name).state), (0, state))
            self.assertEqual(result.stdout, f"a/b c/{name}: {printed}, weight 1, connections 1\n")

    def test_weight_is_set_and_undone(self):
        name = NAMES[0]
        for number, weight in (("7", 7), ("0", 0), ("1000", 1000), ("default", 1)):
            result = self.run_target("a/b c", name, "weight", number)
            self.assertEqual((result.exit_code, self.state(name).weight), (0, weight))
            self.assertIn(f"weight {weight},", result.stdout)
        self.assertFalse(self.state(name).set_by_hand)

    def test_up_says_why_a_target_is_still_down(self):
        member = self.group().candidates[0].member
        member.last_check = ShownCheck(0.0, False, "no answer in 2 s")
        member.check(passed=False, now=0.0)
        result = self.run_target("a/b c", NAMES[0], "up")
        self.assertIn(": down (no answer in 2 s), weight 1", result.stdout)

    def test_json_is_the_reply_of_the_api(self):
        printed = json.loads(self.run_target("a/b c", NAMES[0], "drain", "--json").stdout)
        self.assertEqual((printed["name"], printed["state"], printed["setByHand"]), (NAMES[0], "drain", True))

    def test_unknown_names_are_one_line_with_those_there_are(self):
        for group, name, said in (
            (
                "a/b c",
                "127.0.0.1:9001",
                "there is no target '127.0.0.1:9001' in group 'a/b c'; it has 127.0.0.1:9000, ",
            ),
            ("web", NAMES[0], "there is no group 'web'; there is a/b c"),
            ("\udcff", NAMES[0], "there is no group '\\ufffd'; there is a/b c"),
        ):
            result = self.run_target(group, name, "up")
            self.assertEqual(
                (result.exit_code, result.stdout, result.stderr.count("\n")), (1, "", 1), result.output
            )
            self.assertIn(f"refused: {said}", result.stderr)

    def test_wrong_usage_exits_2_and_sends_nothing(self):
        for words, said in (
            (("g", "n", "weight"), "weight needs a number, or default"),
            (("g", "n", "weight", "1001"), "is not 0..1000 or default"),
            (("g", "n", "weight", "00001"), "is not 0..1000"),
            (("g", "n", "weight", "1.5"), "is not 0..1000"),
            (("g", "n", "up", "3"), "only weight takes a number"),
            (("g", "n", "dwon"), "is not one of 'up', 'drain', 'down', 'weight'"),
            (("", "n", "up"), "GROUP is empty"),
            (("g", "", "up"), "NAME is empty"),
        ):
            result = self.run_target(*words)
            self.assertEqual(result.exit_code, 2, words)
            self.assertIn(said, result.stderr)
        self.assertEqual(self.admins, [])

    def test_a_refusal_of_the_body_exits_2_with_the_reason(self):
        """Another version of the proxy may know fewer states."""
        self.patch(self.control.groups, "check_state", self.refuse)
        result = self.run_target("a/b c", NAMES[0], "up")
        self.assertEqual((result.exit_code, result.stderr), (2, "state must be one that I know\n"))

    def refuse(self, _state):
        raise ValueError("state must be one that I know")


class ListTests(TargetCase):
    def test_a_pipe_gets_every_column_and_whole_names(self):
        self.run_command(target, "a/b c", NAMES[2], "drain")
        lines = self.run_command(targets, env={"COLUMNS": None}).stdout.splitlines()
        self.assertEqual(
            lines[0].split(),
            ["group", "target", "address", "state", "weight", "now", "backup", "active", "queued", "received", "sent",
             "check"],
        )  # fmt: skip
        self.assertEqual([line[7:].split("  ")[0] for line in lines[1:]], list(NAMES))
        self.assertIn("drain by hand", lines[3])

    def test_a_terminal_decides_the_columns(self):
        lines = self.run_command(targets, env={"COLUMNS": "60"}).stdout.splitlines()
        self.assertEqual(lines[0].split(), ["group", "target", "state", "weight", "active"])
        self.assertLessEqual(max(map(len, lines)), 60)

    def test_one_group_and_an_unknown_one(self):
        self.assertEqual(self.run_command(targets, "a/b c").exit_code, 0)
        result = self.run_command(targets, "a/b")
        self.assertEqual((result.exit_code, result.stderr.count("\n")), (1, 1))
        self.assertIn("there is no group 'a/b'; there is a/b c", result.stderr)

    def test_json_is_the_reply_of_the_api(self):
        printed = json.loads(self.run_command(targets, "--json").stdout)
        self.assertEqual([shown["name"] for shown in printed["targets"]], list(NAMES))

    def test_no_targets_at_all_is_a_heading(self):
        self.control.groups._groups.apply({})
        result = self.run_command(targets)
        self.assertEqual((result.exit_code, result.stdout.count("\n")), (0, 1))

    def test_screens_are_as_documented(self):
        """The pictures in docs/operations.rst. To renew them, write ``drawn`` to the file."""
        for width in (60, 80, 130):
            drawn = "".join(f"{line.plain}\n" for line in target_lines(SHOWN, width))
            self.assertLessEqual(max(map(cell_len, drawn.splitlines())), width)
            self.assertEqual((SCREENS / f"targets-{width}.txt").read_text(encoding="utf-8"), drawn)

    def test_states_are_coloured_and_nothing_moves_the_cursor(self):
        hostile = a_target("\x1b[2J", "\u202e\n", "down", why="\x9b", lastCheck=check("\x07"))
        for width in (60, 130, UNLIMITED):
            lines = target_lines([*SHOWN, hostile], width)
            self.assertNotRegex("".join(line.plain for line in lines), "[\x00-\x1f\x7f-\x9f\u202e]")
            styles = {str(span.style) for line in lines[1:8] for span in line.spans}
            self.assertEqual(styles - {""}, {"green", "yellow", "red", "bold red"})


class CompletionTests(RemoteCase):
    def completed(self, words, typed):
        return [
            item.value for item in ShellComplete(target, {}, "target", "_X").get_completions(words, typed)
        ]

    def test_what_can_be_set_is_completed(self):
        self.assertEqual(self.completed(["g", "n"], ""), ["up", "drain", "down", "weight"])
        self.assertEqual(self.completed(["g", "n", "weight"], "d"), ["default"])
        self.assertEqual(self.completed(["g", "n", "up"], "d"), [])

    def test_bash_passes_the_line_so_that_colons_divide_no_word(self):
        complete = WholeWords(target, {}, "target", "_X")
        self.assertIn('_SMARTPROXY_LINE="${COMP_LINE:0:COMP_POINT}"', WholeWords.source_template)
        for line, parts in (
            ("smartproxy target app [::1]:80 dr", (["target", "app", "[::1]:80"], "dr")),
            ("smartproxy target app '[::1]:8 0' ", (["target", "app", "[::1]:8 0"], "")),
            ("smartproxy top --admin :8404 --s", (["top", "--admin", ":8404"], "--s")),
        ):
            self.patch(os, "environ", {"_SMARTPROXY_LINE": line})
            self.assertEqual(complete.get_completion_args(), parts)
        self.patch(os, "environ", {"COMP_WORDS": "smartproxy rel", "COMP_CWORD": "1"})
        self.assertEqual(complete.get_completion_args(), ([], "rel"))
