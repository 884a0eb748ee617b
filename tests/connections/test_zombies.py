"""The zombie sweep: full, half and stuck connections, slices, log line."""

from __future__ import annotations

import itertools

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections import zombies
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.model.outcome import CloseReason, ConnectionState
from smartproxy.model.plan import ZombiePlan
from tests.connections.made import RegistryFixture, turn

FULL, HALF, STUCK = CloseReason.ZOMBIE_FULL, CloseReason.ZOMBIE_HALF, CloseReason.ZOMBIE_STUCK


class ZombieTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = RegistryFixture()
        self.clock = self.fixture.clock
        self.sweep = self.sweeping(ZombiePlan())
        self.warnings = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def sweeping(self, plan):
        sweep = ZombieSweep(plan, self.fixture.registry, self.fixture.counters, self.clock)
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
        kinds = self.fixture.counters.zombies
        return kinds["full"], kinds["half"], kinds["stuck"]

    def test_sweep_runs_every_ten_seconds(self):
        self.fixture.relayed(gone=(True, True))
        self.pass_time(9)
        self.assertEqual(self.found(), (0, 0, 0))
        self.pass_time(2)
        self.assertEqual(self.found(), (1, 0, 0))
        self.fixture.relayed(gone=(True, True))
        self.pass_time(8)
        self.assertEqual(self.found(), (1, 0, 0))
        self.pass_time(4)
        self.assertEqual(self.found(), (2, 0, 0))

    def test_live_connection_is_not_a_zombie(self):
        self.fixture.relayed(received=1, sent=1)
        self.fixture.relayed()
        self.pass_time(3600)
        self.assertEqual((self.fixture.ends, self.found(), self.warnings), ([], (0, 0, 0), []))

    # -- full ----------------------------------------------------------------------------------------

    def test_full_is_closed_counted_and_logged_as_a_bug(self):
        record = self.fixture.relayed(gone=(True, True))
        self.pass_time(11)
        self.assertEqual(self.fixture.ends, [(record.id, FULL)])
        self.assertEqual((self.fixture.registry.active, self.found()), (0, (1, 0, 0)))
        self.assertIn("1 full (a bug in smartproxy)", self.line())

    def test_full_is_removed_even_if_end_does_nothing(self):
        """The registry closes it: its places are released and its reason is counted once."""
        record = self.fixture.relayed(gone=(True, True), received=5)
        record.owner.abort = lambda reason: None
        self.pass_time(12)
        registry = self.fixture.registry
        self.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}))
        self.assertEqual(self.fixture.counters.route("web").closed, {FULL: 1})
        self.assertEqual(registry.closed_received, 5)
        self.assertFalse(registry.close(record, CloseReason.NORMAL, self.clock.seconds()))

    def test_socket_with_a_pending_event_is_not_full(self):
        """Thousands are reset at once, and the sweep runs before the last of their events."""
        record = self.fixture.relayed(gone=(True, True))
        self.pass_time(10)
        self.fixture.registry.close(record, CloseReason.CLIENT_RESET, self.clock.seconds())
        self.pass_time(20)
        self.assertEqual((self.found(), self.fixture.ends), ((0, 0, 0), []))

    def test_failing_socket_check_counts_as_full(self):
        """And does not stop the sweep."""
        record, other = self.fixture.relayed(), self.fixture.relayed(gone=(True, True))

        def gone():
            raise ZeroDivisionError

        record.owner.gone = gone
        self.pass_time(12)
        self.assertEqual(sorted(self.fixture.ends), [(record.id, FULL), (other.id, FULL)])
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_failing_end_does_not_stop_the_sweep(self):
        record, other = self.fixture.relayed(gone=(True, True)), self.fixture.relayed(gone=(True, True))

        def end(_):
            raise ZeroDivisionError

        record.owner.abort = end
        self.pass_time(12)
        self.assertEqual((self.fixture.ends, self.fixture.registry.active), ([(other.id, FULL)], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pass_time(60)
        self.assertEqual(self.found(), (2, 0, 0))

    # -- half ----------------------------------------------------------------------------------------

    def test_half_is_closed_after_its_grace(self):
        """30 s without TLS, 5 min with TLS, whichever socket is gone."""
        for tls, grace in ((False, 30), (True, 300)):
            for gone in ((True, False), (False, True)):
                record = self.fixture.relayed(gone=gone, tls=tls, received=1, sent=1)
                self.pass_time(grace)
                self.assertEqual(self.fixture.ends, [])
                self.pass_time(20)
                self.assertEqual(self.fixture.ends, [(record.id, HALF)])
                self.fixture.ends.clear()
        self.assertEqual(self.found(), (0, 4, 0))

    def test_grace_begins_when_the_socket_is_found_gone(self):
        record = self.fixture.relayed(received=1, sent=1)
        self.pass_time(1000)
        record.owner.gone = lambda: (False, True)
        self.pass_time(29)
        self.assertEqual(self.fixture.ends, [])
        self.pass_time(21)
        self.assertEqual(self.fixture.reasons(), [HALF])

    def test_half_with_traffic_is_not_closed(self):
        """The grace period starts again with each byte: a slow but live connection must not be taken for a zombie."""
        record = self.fixture.relayed(gone=(False, True), sent=1)
        for _ in range(20):
            self.pass_time(25)
            record.moved_out(1, self.clock.seconds())
        self.assertEqual(self.fixture.ends, [])
        self.pass_time(41)
        self.assertEqual(self.fixture.reasons(), [HALF])

    def test_closed_connection_is_removed_from_the_half_table(self):
        record = self.fixture.relayed(gone=(True, False))
        self.pass_time(10)
        self.assertEqual(list(self.sweep._half_since), [record.id])
        self.fixture.registry.close(record, CloseReason.NORMAL, self.clock.seconds())
        self.pass_time(10)
        self.assertEqual(self.sweep._half_since, {})

    def test_connection_that_still_delivers_is_neither_half_nor_stuck(self):
        """The last bytes of a reset target to a slow client; a long upload that the kernel still sends."""
        read = []
        for nature in ({"gone": (False, True), "sent": 1}, {"received": 1}):
            record = self.fixture.relayed(**nature)
            record.owner.acknowledged = lambda: len(read)
            for _ in range(20):
                self.pass_time(20)
                read.append(1)
            self.assertEqual(self.fixture.ends, [])
            self.pass_time(200)
            self.assertEqual(len(self.fixture.ends), 1)
            self.fixture.ends.clear()

    # -- stuck ---------------------------------------------------------------------------------------

    def test_stuck_is_closed_after_its_threshold(self):
        """60 s without TLS, 5 min with TLS."""
        for tls, threshold in ((False, 60), (True, 300)):
            record = self.fixture.relayed(received=100, tls=tls)
            self.pass_time(threshold - 1)
            self.assertEqual(self.fixture.ends, [])
            self.pass_time(12)
            self.assertEqual(self.fixture.ends, [(record.id, STUCK)])
            self.fixture.ends.clear()
        self.assertEqual(self.found(), (0, 0, 2))

    def test_upload_in_progress_is_not_stuck(self):
        record = self.fixture.relayed(received=100)
        for _ in range(20):
            self.pass_time(50)
            record.moved_in(100, self.clock.seconds())
        self.assertEqual(self.fixture.ends, [])

    def test_connection_with_a_reply_is_not_stuck(self):
        record = self.fixture.relayed(received=100, sent=1)
        self.pass_time(1000)
        record.moved_in(100, self.clock.seconds())
        self.pass_time(1000)
        self.assertEqual(self.fixture.ends, [])

    def test_connection_without_client_data_is_not_stuck(self):
        self.fixture.relayed()
        self.pass_time(1000)
        self.assertEqual(self.fixture.ends, [])

    def test_stuck_detection_can_be_turned_off(self):
        """``stuckDetection: false``, for protocols that never reply, such as syslog."""
        self.fixture.relayed(received=100, stuck_detection=False)
        self.pass_time(1000)
        self.assertEqual(self.fixture.ends, [])

    def test_connection_that_is_not_relayed_is_not_stuck(self):
        self.fixture.relayed(received=100).state = ConnectionState.CONNECTING
        self.pass_time(1000)
        self.assertEqual(self.fixture.ends, [])

    # -- the sweep -----------------------------------------------------------------------------------

    def line(self):
        (event,) = self.warnings
        return event["log_format"].format(**event)

    def test_sweep_logs_one_line_that_names_five(self):
        """Full ones come first: they indicate a bug."""
        self.sweep._plan = ZombiePlan(half_grace_plain=50)
        for _ in range(3):
            self.fixture.relayed(gone=(True, False))
        for _ in range(4):
            self.fixture.relayed(received=1)
        self.pass_time(55)
        full = self.fixture.relayed(gone=(True, True))
        self.assertEqual(self.warnings, [])
        self.pass_time(7)
        line = self.line()
        self.assertTrue(line.startswith("zombies: 1 full (a bug in smartproxy), 3 half, 4 stuck: "), line)
        self.assertEqual(line.count(" of 192.0.2.1:5000 (listener :443, route web)"), 5)
        self.assertIn(f": full {full.id} of", line)
        self.assertTrue(line.endswith(", ..."), line)

    def test_grace_and_thresholds_come_from_the_plan(self):
        self.sweep.stop()
        self.sweeping(ZombiePlan(1, 20, 10, 40, 30))
        for gone, received, tls, at in (
            ((True, False), 0, True, 20),
            ((True, False), 0, False, 10),
            ((False, False), 1, True, 40),
            ((False, False), 1, False, 30),
        ):
            self.fixture.relayed(gone=gone, received=received, tls=tls)
            self.pass_time(at - 1)
            self.assertEqual(self.fixture.ends, [])
            self.pass_time(3)
            self.assertEqual(len(self.fixture.ends), 1)
            self.fixture.ends.clear()

    def test_sweep_returns_to_the_event_loop_after_each_slice(self):
        """A check takes a tenth of a slice here, and ten of a hundred connections are dead."""
        checked = []

        def looking(record):
            def gone():
                checked.append(record.id)
                self.clock.rightNow += zombies._SLICE / 10
                return record.id % 10 == 0, False

            record.owner.gone = gone

        for _ in range(100):
            looking(self.fixture.relayed())
        self.sweep._plan = ZombiePlan(half_grace_plain=0)
        done = self.sweep.sweep()
        turns = [len(checked)]
        while not done.called:
            turn(self.clock)
            turns.append(len(checked))
        self.assertEqual(turns[-1], 100)
        self.assertGreaterEqual(len(turns), 10)
        self.assertLessEqual(max(after - before for before, after in itertools.pairwise([0, *turns])), 11)
        self.assertEqual(self.found(), (0, 10, 0))

    def test_connection_closed_between_slices_is_not_checked(self):
        records = [self.fixture.relayed() for _ in range(3)]
        checked = []

        def gone(record):
            checked.append(record.id)
            self.clock.rightNow += 1
            return False, False

        for record in records:
            record.owner.gone = lambda record=record: gone(record)
        done = self.sweep.sweep()
        self.fixture.registry.close(records[1], CloseReason.NORMAL, self.clock.seconds())
        while not done.called:
            turn(self.clock)
        self.assertEqual(checked, [records[0].id, records[2].id])

    def test_stop_during_a_sweep_leaves_no_timer(self):
        self.fixture.relayed(gone=(True, True))
        self.clock.advance(10)
        self.sweep.stop()
        self.pass_time(100)
        self.assertEqual((self.fixture.ends, self.clock.getDelayedCalls()), ([], []))
