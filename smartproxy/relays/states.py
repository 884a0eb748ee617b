"""The states of one half of a relayed connection, as two tables that all relays over sockets share.

Each half ends twice: its input, when nothing more will be received from it, and its output, when nothing more will be
sent to it. These are all ways in which that happens; from every state the event CLOSED leads to CLOSED::

    reading   OPEN --INPUT_ENDED------------> ENDED
                |                               ^
                |--RESET-------> DRAINING ------'  INPUT_ENDED
                `--INPUT_CUT, PEER_CUT------> CLOSED   also from DRAINING and ENDED

    writing   OPEN --OUTPUT_ENDED-----------> FINISHED
                |--WRITE_FAILED, RESET------> FAILED   RESET also from FINISHED
                |--PEER_CUT-----------------> CUTTING  also from FINISHED
                `--INPUT_CUT----------------> CLOSED   from every state

A relay ends in order when the outputs of both halves have ended and nothing waits to be written. If a half is reset or cut,
what was received of it before is sent to its peer, and then the peer is cut off:
:meth:`SocketRelay.cut <smartproxy.relays.sockets.SocketRelay.cut>`.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING

from smartproxy.flow.states import State

if TYPE_CHECKING:
    from smartproxy.flow.states import Table


class Reading(State):
    """What is still received from a half."""

    OPEN = auto()
    DRAINING = auto()  # it was reset; bytes that the kernel received before that are still read
    ENDED = auto()  # in order: by a FIN, or by a close_notify if it carries TLS
    CLOSED = auto()  # nothing more is read


class Writing(State):
    """What is still sent to a half."""

    OPEN = auto()
    FAILED = auto()  # a write failed: nothing more can be sent
    FINISHED = auto()  # the end was sent, or waits behind the last bytes
    CUTTING = auto()  # its peer was cut: what waits is sent, then it is closed without an orderly end
    CLOSED = auto()


class HalfEvent(State):
    """What ends one direction of a half, or both."""

    INPUT_ENDED = auto()  # a FIN, or a close_notify, was received
    INPUT_CUT = auto()  # nothing more can be received, and it is no orderly end
    OUTPUT_ENDED = auto()  # the end of the peer's input is passed on
    PEER_CUT = auto()  # the peer's input was cut
    WRITE_FAILED = auto()  # a write met a RST that followed a FIN (EPIPE)
    RESET = auto()  # a RST was received; what came before it is still to be read
    CLOSED = auto()  # both sockets of the relay are closed


#: The reading state that follows. A missing event indicates a bug: it raises IllegalTransition.
READING: Table[Reading, HalfEvent] = {
    Reading.OPEN: {
        HalfEvent.INPUT_ENDED: Reading.ENDED,
        HalfEvent.INPUT_CUT: Reading.CLOSED,
        HalfEvent.OUTPUT_ENDED: Reading.OPEN,
        HalfEvent.PEER_CUT: Reading.CLOSED,  # what it would send now cannot be delivered
        HalfEvent.WRITE_FAILED: Reading.OPEN,  # its last bytes and its FIN are still to be read
        HalfEvent.RESET: Reading.DRAINING,
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.DRAINING: {
        HalfEvent.INPUT_ENDED: Reading.ENDED,  # by a close_notify only: a FIN cannot be told from the RST
        HalfEvent.INPUT_CUT: Reading.CLOSED,
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.ENDED: {
        HalfEvent.INPUT_CUT: Reading.CLOSED,
        HalfEvent.OUTPUT_ENDED: Reading.ENDED,
        HalfEvent.PEER_CUT: Reading.CLOSED,
        HalfEvent.CLOSED: Reading.CLOSED,
    },
    Reading.CLOSED: {
        HalfEvent.CLOSED: Reading.CLOSED,  # after a cut
    },
}

#: The writing state that follows, for the same events. An event is legal if both tables have it.
WRITING: Table[Writing, HalfEvent] = {
    Writing.OPEN: {
        HalfEvent.INPUT_ENDED: Writing.OPEN,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.OUTPUT_ENDED: Writing.FINISHED,
        HalfEvent.PEER_CUT: Writing.CUTTING,
        HalfEvent.WRITE_FAILED: Writing.FAILED,
        HalfEvent.RESET: Writing.FAILED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.FAILED: {
        HalfEvent.INPUT_ENDED: Writing.FAILED,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.RESET: Writing.FAILED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.FINISHED: {
        HalfEvent.INPUT_ENDED: Writing.FINISHED,
        HalfEvent.INPUT_CUT: Writing.CLOSED,
        HalfEvent.PEER_CUT: Writing.CUTTING,
        HalfEvent.RESET: Writing.FAILED,
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.CUTTING: {
        HalfEvent.CLOSED: Writing.CLOSED,
    },
    Writing.CLOSED: {
        HalfEvent.CLOSED: Writing.CLOSED,  # after a cut
    },
}
