"""Connections that look alive and are dead."""

from __future__ import annotations

import itertools

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections import zombies
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.model.outcome import CloseReason, ConnectionState
from smartproxy.model.plan import ZombiePlan
from tests.connections.made import House, turn

FULL, HALF, STUCK = CloseReason.ZOMBIE_FULL, CloseReason.ZOMBIE_HALF, CloseReason.ZOMBIE_STUCK


class ZombieTests(SynchronousTestCase):
    def setUp(self):
        self.house = House()
        self.clock = self.house.clock
        self.sweep = self.sweeping(ZombiePlan())
        self.warnings = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def sweeping(self, plan):
        sweep = ZombieSweep(plan, self.house.registry, self.house.counters, self.clock)
        sweep.start()
        self.addCleanup(sweep.stop)
        return sweep

    def observe(self, event):
        if event["log_level"] is LogLevel.warn:
            self.warnings.append(event)

    def pass_time(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)

    def found(self):
        kinds = self.house.counters.zombies
        return kinds["full"], kinds["half"], kinds["stuck"]

    def test_every_ten_seconds(self):
        self.house.linked(gone=(True, True))
        self.pass_time(9)
        self.assertEqual(self.found(), (0, 0, 0))
        self.pass_time(2)
        self.assertEqual(self.found(), (1, 0, 0))
        self.house.linked(gone=(True, True))
        self.pass_time(8)
        self.assertEqual(self.found(), (1, 0, 0))
        self.pass_time(4)
        self.assertEqual(self.found(), (2, 0, 0))

    def test_one_that_lives_is_left_alone(self):
        self.house.linked(received=1, sent=1)
        self.house.linked()
        self.pass_time(3600)
        self.assertEqual((self.house.ends, self.found(), self.warnings), ([], (0, 0, 0), []))

    # -- full ----------------------------------------------------------------------------------------

    def test_full_is_cleaned_counted_and_said_to_be_a_fault_of_ours(self):
        record = self.house.linked(gone=(True, True))
        self.pass_time(11)
        self.assertEqual(self.house.ends, [(record.id, FULL)])
        self.assertEqual((self.house.registry.active, self.found()), (0, (1, 0, 0)))
        self.assertIn("1 full (a fault of ours)", self.line())

    def test_full_is_cleaned_although_whoever_should_do_it_has_not_noticed(self):
        """Its books are closed, its places given back, its reason counted once."""
        record = self.house.linked(gone=(True, True), received=5)
        record.end = lambda reason: None
        self.pass_time(12)
        registry = self.house.registry
        self.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}))
        self.assertEqual(self.house.counters.route("web").closed, {FULL: 1})
        self.assertEqual(registry.closed_received, 5)
        self.assertFalse(registry.close(record, CloseReason.NORMAL, self.clock.seconds()))

    def test_what_the_kernel_has_just_ended_and_the_event_still_says_is_no_zombie(self):
        """Thousands are reset at once, and the sweep comes before the last of their events."""
        record = self.house.linked(gone=(True, True))
        self.pass_time(10)
        self.house.registry.close(record, CloseReason.CLIENT_RESET, self.clock.seconds())
        self.pass_time(20)
        self.assertEqual((self.found(), self.house.ends), ((0, 0, 0), []))

    def test_one_that_does_not_even_know_its_sockets_is_full(self):
        """And harms no sweep."""
        record, other = self.house.linked(), self.house.linked(gone=(True, True))

        def gone():
            raise ZeroDivisionError

        record.gone = gone
        self.pass_time(12)
        self.assertEqual(sorted(self.house.ends), [(record.id, FULL), (other.id, FULL)])
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_one_that_cannot_be_ended_harms_no_other(self):
        record, other = self.house.linked(gone=(True, True)), self.house.linked(gone=(True, True))

        def end(_):
            raise ZeroDivisionError

        record.end = end
        self.pass_time(12)
        self.assertEqual((self.house.ends, self.house.registry.active), ([(other.id, FULL)], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pass_time(60)
        self.assertEqual(self.found(), (2, 0, 0))

    # -- half ----------------------------------------------------------------------------------------

    def test_half_after_its_grace(self):
        """30 s plain, 5 min with TLS, whichever side it is."""
        for tls, grace in ((False, 30), (True, 300)):
            for gone in ((True, False), (False, True)):
                record = self.house.linked(gone=gone, tls=tls, received=1, sent=1)
                self.pass_time(grace)
                self.assertEqual(self.house.ends, [])
                self.pass_time(20)
                self.assertEqual(self.house.ends, [(record.id, HALF)])
                self.house.ends.clear()
        self.assertEqual(self.found(), (0, 4, 0))

    def test_the_grace_begins_when_the_socket_goes(self):
        record = self.house.linked(received=1, sent=1)
        self.pass_time(1000)
        record.gone = lambda: (False, True)
        self.pass_time(29)
        self.assertEqual(self.house.ends, [])
        self.pass_time(21)
        self.assertEqual(self.house.reasons(), [HALF])

    def test_what_it_had_said_before_may_still_be_on_its_way(self):
        """The grace period starts again with each byte: a slow but live connection must not be taken for a zombie."""
        record = self.house.linked(gone=(False, True), sent=1)
        for _ in range(20):
            self.pass_time(25)
            record.moved_out(1, self.clock.seconds())
        self.assertEqual(self.house.ends, [])
        self.pass_time(41)
        self.assertEqual(self.house.reasons(), [HALF])

    def test_what_is_noted_of_a_connection_goes_with_it(self):
        record = self.house.linked(gone=(True, False))
        self.pass_time(10)
        self.assertEqual(list(self.sweep._half_since), [record.id])
        self.house.registry.close(record, CloseReason.NORMAL, self.clock.seconds())
        self.pass_time(10)
        self.assertEqual(self.sweep._half_since, {})

    # -- stuck ---------------------------------------------------------------------------------------

    def test_stuck_after_its_threshold(self):
        """60 s plain, 5 min with TLS."""
        for tls, threshold in ((False, 60), (True, 300)):
            record = self.house.linked(received=100, tls=tls)
            self.pass_time(threshold - 1)
            self.assertEqual(self.house.ends, [])
            self.pass_time(12)
            self.assertEqual(self.house.ends, [(record.id, STUCK)])
            self.house.ends.clear()
        self.assertEqual(self.found(), (0, 0, 2))

    def test_an_upload_that_flows_is_not_stuck(self):
        record = self.house.linked(received=100)
        for _ in range(20):
            self.pass_time(50)
            record.moved_in(100, self.clock.seconds())
        self.assertEqual(self.house.ends, [])

    def test_one_that_has_had_an_answer_is_not_stuck(self):
        record = self.house.linked(received=100, sent=1)
        self.pass_time(1000)
        record.moved_in(100, self.clock.seconds())
        self.pass_time(1000)
        self.assertEqual(self.house.ends, [])

    def test_one_that_has_said_nothing_is_not_stuck(self):
        self.house.linked()
        self.pass_time(1000)
        self.assertEqual(self.house.ends, [])

    def test_a_route_may_say_that_its_protocol_never_answers(self):
        """``stuckDetection: false``, for syslog."""
        self.house.linked(received=100, stuck_detection=False)
        self.pass_time(1000)
        self.assertEqual(self.house.ends, [])

    def test_one_that_is_not_linked_is_not_stuck(self):
        self.house.linked(received=100).state = ConnectionState.CONNECTING
        self.pass_time(1000)
        self.assertEqual(self.house.ends, [])

    # -- the sweep -----------------------------------------------------------------------------------

    def line(self):
        (event,) = self.warnings
        return event["log_format"].format(**event)

    def test_one_line_a_sweep_tells_how_many_and_names_five(self):
        """The full first: they are for whoever maintains this."""
        self.sweep._plan = ZombiePlan(half_grace_plain=50)
        for _ in range(3):
            self.house.linked(gone=(True, False))
        for _ in range(4):
            self.house.linked(received=1)
        self.pass_time(55)
        full = self.house.linked(gone=(True, True))
        self.assertEqual(self.warnings, [])
        self.pass_time(7)
        line = self.line()
        self.assertTrue(line.startswith("zombies: 1 full (a fault of ours), 3 half, 4 stuck: "), line)
        self.assertEqual(line.count(" of 192.0.2.1:5000 on web"), 5)
        self.assertIn(f": full {full.id} of", line)
        self.assertTrue(line.endswith(", ..."), line)

    def test_its_limits_are_the_configurations(self):
        self.sweep.stop()
        self.sweeping(ZombiePlan(1, 20, 10, 40, 30))
        for gone, received, tls, at in (
            ((True, False), 0, True, 20),
            ((True, False), 0, False, 10),
            ((False, False), 1, True, 40),
            ((False, False), 1, False, 30),
        ):
            self.house.linked(gone=gone, received=received, tls=tls)
            self.pass_time(at - 1)
            self.assertEqual(self.house.ends, [])
            self.pass_time(3)
            self.assertEqual(len(self.house.ends), 1)
            self.house.ends.clear()

    def test_a_sweep_goes_in_slices(self):
        """Here a connection takes a tenth of a slice to look at, and ten of a hundred are dead."""
        looked_at = []

        def looking(record):
            def gone():
                looked_at.append(record.id)
                self.clock.rightNow += zombies._SLICE / 10
                return record.id % 10 == 0, False

            record.gone = gone

        for _ in range(100):
            looking(self.house.linked())
        self.sweep._plan = ZombiePlan(half_grace_plain=0)
        done = self.sweep.sweep()
        turns = [len(looked_at)]
        while not done.called:
            turn(self.clock)
            turns.append(len(looked_at))
        self.assertEqual(turns[-1], 100)
        self.assertGreaterEqual(len(turns), 10)
        self.assertLessEqual(max(after - before for before, after in itertools.pairwise([0, *turns])), 11)
        self.assertEqual(self.found(), (0, 10, 0))

    def test_one_that_ends_while_others_have_their_turn_is_not_looked_at(self):
        records = [self.house.linked() for _ in range(3)]
        looked_at = []

        def gone(record):
            looked_at.append(record.id)
            self.clock.rightNow += 1
            return False, False

        for record in records:
            record.gone = lambda record=record: gone(record)
        done = self.sweep.sweep()
        self.house.registry.close(records[1], CloseReason.NORMAL, self.clock.seconds())
        while not done.called:
            turn(self.clock)
        self.assertEqual(looked_at, [records[0].id, records[2].id])

    def test_stopped_in_the_middle_nothing_is_left(self):
        self.house.linked(gone=(True, True))
        self.clock.advance(10)
        self.sweep.stop()
        self.pass_time(100)
        self.assertEqual((self.house.ends, self.clock.getDelayedCalls()), ([], []))
