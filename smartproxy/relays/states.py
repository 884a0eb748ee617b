"""The states of one half of a relayed connection, as two tables that all relays over sockets share.

Each half ends twice: its input, when its socket has nothing more to give, and its output, when it has been sent all that
it will be sent. These are all ways in which that can happen; CLOSED can follow on every state::

    reading   OPEN --INPUT_ENDED--------------> ENDED
                |                                 ^
                |--WRITE_RESET--> DRAINING -------'  INPUT_ENDED
                `--INPUT_CUT, PEER_CUT--------> CLOSED

    writing   OPEN --OUTPUT_ENDED-------------> FINISHED
                |--WRITE_FAILED, WRITE_RESET--> FAILED
                |--PEER_CUT-------------------> CUTTING
                `--INPUT_CUT------------------> CLOSED

The relay as a whole is over in order when the output of both halves has ended and nothing waits to be written, and
otherwise with the first half that is broken: :class:`~smartproxy.relays.half.SocketRelay`.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING

from smartproxy.flow.states import State

if TYPE_CHECKING:
    from smartproxy.flow.states import Table


class Reading(State):
    """What a half's socket still has to give."""

    OPEN = auto()
    DRAINING = auto()  # it was reset; the bytes that the kernel received before are still read
    ENDED = auto()  # in order: with a FIN, or a close_notify where it carries TLS
    CLOSED = auto()  # it is not read any more


class Writing(State):
    """What a half is still to be sent."""

    OPEN = auto()
    FAILED = auto()  # a write failed: nothing can be sent to it
    FINISHED = auto()  # it has been sent its end; bytes before that may still wait
    CUTTING = auto()  # its peer was cut off: what waits is sent, then it is closed without an end in order
    CLOSED = auto()


class Event(State):
    """What ends a half, or a part of it."""

    INPUT_ENDED = auto()  # the socket's peer has ended its direction in order
    INPUT_CUT = auto()  # it has sent a FIN where a close_notify was due
    OUTPUT_ENDED = auto()  # the peer's end is passed on to this half
    PEER_CUT = auto()  # the peer's input was cut
    WRITE_FAILED = auto()  # a write met a RST that came behind a FIN (EPIPE)
    WRITE_RESET = auto()  # a write met a RST
    CLOSED = auto()  # both sockets of the relay are closed


#: What becomes of the reading state. An event that is missing is a bug: it raises IllegalTransition.
READING: Table[Reading, Event] = {
    Reading.OPEN: {
        Event.INPUT_ENDED: Reading.ENDED,
        Event.INPUT_CUT: Reading.CLOSED,
        Event.OUTPUT_ENDED: Reading.OPEN,
        Event.PEER_CUT: Reading.CLOSED,  # nothing that it says now has anywhere to go
        Event.WRITE_FAILED: Reading.OPEN,  # its FIN is still to be read, behind its last bytes
        Event.WRITE_RESET: Reading.DRAINING,
        Event.CLOSED: Reading.CLOSED,
    },
    Reading.DRAINING: {
        Event.INPUT_ENDED: Reading.ENDED,  # only by a close_notify: a FIN cannot be told from the RST any more
        Event.CLOSED: Reading.CLOSED,
    },
    Reading.ENDED: {
        Event.OUTPUT_ENDED: Reading.ENDED,
        Event.PEER_CUT: Reading.CLOSED,
        Event.CLOSED: Reading.CLOSED,
    },
    Reading.CLOSED: {
        Event.CLOSED: Reading.CLOSED,  # after a cut
    },
}

#: What becomes of the writing state, by the same events: one is legal where both tables have it.
WRITING: Table[Writing, Event] = {
    Writing.OPEN: {
        Event.INPUT_ENDED: Writing.OPEN,
        Event.INPUT_CUT: Writing.CLOSED,
        Event.OUTPUT_ENDED: Writing.FINISHED,
        Event.PEER_CUT: Writing.CUTTING,
        Event.WRITE_FAILED: Writing.FAILED,
        Event.WRITE_RESET: Writing.FAILED,
        Event.CLOSED: Writing.CLOSED,
    },
    Writing.FAILED: {
        Event.INPUT_ENDED: Writing.FAILED,
        Event.INPUT_CUT: Writing.CLOSED,
        Event.CLOSED: Writing.CLOSED,
    },
    Writing.FINISHED: {
        Event.INPUT_ENDED: Writing.FINISHED,
        Event.INPUT_CUT: Writing.CLOSED,
        Event.CLOSED: Writing.CLOSED,
    },
    Writing.CUTTING: {
        Event.CLOSED: Writing.CLOSED,
    },
    Writing.CLOSED: {
        Event.CLOSED: Writing.CLOSED,  # after a cut
    },
}
