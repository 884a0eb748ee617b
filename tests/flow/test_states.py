"""Tables of states: legal events give the next state, all others raise."""

from __future__ import annotations

from enum import auto

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition
from smartproxy.flow.states import State, Table, following


class Lamp(State):
    OFF = auto()
    ON = auto()


class Switch(State):
    PRESSED = auto()
    BROKEN = auto()


LAMP: Table[Lamp, Switch] = {Lamp.OFF: {Switch.PRESSED: Lamp.ON}, Lamp.ON: {Switch.PRESSED: Lamp.OFF}}


class FollowingTests(SynchronousTestCase):
    def test_a_legal_event_gives_the_next_state(self):
        self.assertIs(following(LAMP, Lamp.OFF, Switch.PRESSED), Lamp.ON)
        self.assertIs(following(LAMP, Lamp.ON, Switch.PRESSED), Lamp.OFF)

    def test_an_event_that_is_not_in_the_table_raises(self):
        """The message names both, for the log: such an error is a bug in smartproxy."""
        with self.assertRaisesRegex(IllegalTransition, "Switch.BROKEN is not allowed in Lamp.ON"):
            following(LAMP, Lamp.ON, Switch.BROKEN)

    def test_a_state_without_a_row_raises(self):
        self.assertRaises(IllegalTransition, following, {}, Lamp.ON, Switch.PRESSED)

    def test_members_are_keys_by_identity(self):
        """Two enums have members of the same name and value, which must not be taken for each other."""

        class Other(State):
            OFF = auto()

        self.assertEqual({Lamp.OFF: 1, Other.OFF: 2}[Lamp.OFF], 1)
        self.assertEqual(hash(Lamp.OFF), object.__hash__(Lamp.OFF))
