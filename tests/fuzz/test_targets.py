"""Each fuzz target for a moment, with its seeds and with whatever was found; and that the properties can fail."""

from __future__ import annotations

import io
import itertools
from contextlib import redirect_stdout
from unittest.mock import Mock, patch

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.fuzz import run
from tests.fuzz.regressions import REGRESSIONS
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.verdicts import check_incremental, check_verdicts
from tests.wire.ways import damaged

SHORT = settings(max_examples=25, derandomize=True, database=None)


class TargetTests(SynchronousTestCase):
    """One test for each target, added below."""

    def test_regressions_belong_to_targets(self):
        self.assertLessEqual(REGRESSIONS.keys(), TARGETS.keys())

    def test_every_parser_of_wire_has_a_target(self):
        wire = run.ROOT / "smartproxy" / "wire"
        without = {"__init__", "proxy_header", "verdict"}  # they have no parser
        parsers = {path.stem for path in wire.glob("*.py")} - without
        self.assertLessEqual(parsers, TARGETS.keys())


def _test_of(name: str, target: Target):
    @SHORT
    @given(damaged(*target.seeds))
    def check_damaged(data):
        target.check(data)

    def test(self):
        for data in (*target.seeds, *REGRESSIONS.get(name, ()), b""):
            for one in (data, data[:-1], data + b"\0"):
                target.check(one)
        check_damaged()

    return test


for _name, _target in TARGETS.items():
    setattr(TargetTests, f"test_{_name}", _test_of(_name, _target))


def reads_behind(data):
    return Done(len(data), 1) if data else NeedMore(1)


def consumes_more(data):
    return Done("value", len(data) + 1)


def changes_its_mind(data):
    return Malformed("odd") if len(data) in {3, 4, 7, 9, 43} else NeedMore(len(data) + 1)


def waits_for_nothing(data):
    return NeedMore(len(data))


def wants_too_much(data):
    return NeedMore(10) if len(data) < 3 else Done("value", 3)


def repeats_the_input(data):
    return Malformed(f"not a header: {bytes(data[:4]).decode('latin-1')}\n")


def depends_on_the_type(data):
    return Malformed("a view") if isinstance(data, memoryview) else Done("value", 0)


def looks_at_all_again(data):
    for end in range(len(data)):
        bytes(data[:end])
    return NeedMore(len(data) + 1)


def calls_for_each_pair(data):
    for _ in range(len(data) ** 2):
        Forgets()
    return NeedMore(len(data) + 1)


class Forgets:
    """A parser of pieces that is right only where the first byte is received alone."""

    def __init__(self):
        self.first = None

    def __call__(self, data):
        self.first = self.first or len(data)
        return NeedMore(len(data) + 1) if self.first < 2 else Malformed("lost")


class PropertyTests(SynchronousTestCase):
    """Properties that cannot fail would find nothing."""

    def test_broken_parsers_are_found(self):
        for broken, found in {
            reads_behind: "changed",
            consumes_more: "1 of 0 bytes consumed",
            changes_its_mind: "became NeedMore",
            waits_for_nothing: "0 wanted with 0 received",
            wants_too_much: "done at 3, before 10",
            repeats_the_input: "not a header",
            depends_on_the_type: "another verdict on <class 'memoryview'>",
            looks_at_all_again: "of 200 bytes seen",
            calls_for_each_pair: "[0-9]+ calls",
        }.items():
            with self.assertRaisesRegex(AssertionError, found, msg=broken.__name__):
                check_verdicts(broken, bytes(200))

    def test_a_parser_that_forgets_pieces_is_found(self):
        def whole(data):
            return NeedMore(len(data) + 1)

        self.assertRaises(AssertionError, check_incremental, Forgets, whole, bytes(20))

    def test_an_exception_is_not_hidden(self):
        self.assertRaises(KeyError, check_verdicts, {}.__getitem__, b"data")


class RunTests(SynchronousTestCase):
    """``make fuzz`` where atheris is not installed; with it, the same functions are run."""

    def run_inside(self, check):
        arguments = [
            "--inside",
            "--engine",
            "hypothesis",
            "--seconds",
            "1",
            "--corpus",
            self.mktemp(),
            "made",
        ]
        # Each look at the clock takes a millisecond, so that a busy machine tries as many inputs as an idle one.
        ticks = (tick / 1000 for tick in itertools.count())
        with (
            patch.dict(TARGETS, {"made": Target(check, (b"seed",))}),
            patch.object(run, "time", Mock(monotonic=lambda: next(ticks))),
            redirect_stdout(io.StringIO()) as out,
        ):
            run.main(arguments)
        return out.getvalue()

    def test_inputs_are_tried_until_the_time_has_passed(self):
        inputs = []
        self.assertRegex(self.run_inside(lambda data: inputs.append(data) or 0), "^Done [0-9]+ runs")
        self.assertGreater(len(set(inputs)), 100)

    def test_a_property_that_does_not_hold_ends_the_run(self):
        def check(data):
            assert data == b"seed", "damaged"
            return len(data)

        with self.assertRaisesRegex(AssertionError, "damaged"):
            self.run_inside(check)

    def test_an_unknown_target_is_refused(self):
        with self.assertRaises(SystemExit), patch("sys.stderr", io.StringIO()) as err:
            run.main(["nothing"])
        self.assertIn("no such target: nothing; there are proxy_v1,", err.getvalue())
