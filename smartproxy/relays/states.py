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


class HalfEvent(State):
    """What ends a half, or a part of it."""

    INPUT_ENDED = auto()  # the socket's peer has ended its direction in order
    INPUT_CUT = auto()  # it has sent a FIN where a close_notify was due
    OUTPUT_ENDED = auto()  # the peer's end is passed on to this half
    PEER_CUT = auto()  # the peer's input was cut
    WRITE_FAILED = auto()  # a write met a RST that came behind a FIN (EPIPE)
    WRITE_RESET = auto()  # a write met a RST
    CLOSED = auto()  # both sockets of the relay are closed


#: What becomes of the reading state. An event that is missing is a bug: it raises IllegalTransition.
READING: Table[Reading, HalfEvent] = {
    Reading.OPEN: {
        HalfEvent.INPUT_ENDED: Reading.ENDED,
        HalfEvent.INPUT_CUT: Reading.CLOSED,
        HalfEvent.OUTPUT_ENDED: Reading.OPEN,
        HalfEvent.PEER_CUT: Reading.CLOSED,  # nothing that it says now has anywhere to go
        HalfEvent.WRITE_FAILED: Reading.OPEN,  # its FIN is still to be read, behind its last bytes
        HalfEvent.WRITE_RESET: Reading.DRAINING,
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.DRAINING: {
        HalfEvent.INPUT_ENDED: Reading.ENDED,  # only by a close_notify: a FIN cannot be told from the RST any more
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.ENDED: {
        HalfEvent.OUTPUT_ENDED: Reading.ENDED,
        HalfEvent.PEER_CUT: Reading.CLOSED,
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.CLOSED: {
        HalfEvent.CLOSED: Reading.CLOSED,  # after a cut
    },
}

#: What becomes of the writing state, by the same events: one is legal where both tables have it.
WRITING: Table[Writing, HalfEvent] = {
    Writing.OPEN: {
        HalfEvent.INPUT_ENDED: Writing.OPEN,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.OUTPUT_ENDED: Writing.FINISHED,
        HalfEvent.PEER_CUT: Writing.CUTTING,
        HalfEvent.WRITE_FAILED: Writing.FAILED,
        HalfEvent.WRITE_RESET: Writing.FAILED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.FAILED: {
        HalfEvent.INPUT_ENDED: Writing.FAILED,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.FINISHED: {
        HalfEvent.INPUT_ENDED: Writing.FINISHED,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.CUTTING: {
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.CLOSED: {
        HalfEvent.CLOSED: Writing.CLOSED,  # after a cut
    },
}
