"""The states of a :class:`~smartproxy.net.stream.Stream`: what it reads, what it writes, and its producer.

::

    input    READING <--> PAUSED
                | FIN_READ   |
                v            |
              ENDED          |
                `------------+--------> STOPPED    exactly where the output is CLOSING, ABORTING or CLOSED

    output   OPEN ----> FINISHING --> FINISHED     END_ASKED, ALL_WRITTEN
               `------------+------------+-------> CLOSING       CLOSE_ASKED
                                                      `--------> ABORTING    ABORT_ASKED, in any state before
                                                                    `------> CLOSED    LOST, in any state before

The tables have what changes a state. Twisted's transports may be asked twice for an end, or for less than was asked for
before: the stream ignores that. Pausing and resuming follow the traffic, and are no look-up in a table: the stream
compares by identity.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING

from smartproxy.flow.states import State

if TYPE_CHECKING:
    from smartproxy.flow.states import Table


class StreamInput(State):
    """What becomes of the bytes of the socket's peer."""

    READING = auto()  # the protocol gets them
    PAUSED = auto()  # they stay in the kernel
    ENDED = auto()  # there will be none: a FIN was read
    STOPPED = auto()  # the connection is being closed, or belongs to another owner


class StreamOutput(State):
    """What becomes of our direction."""

    OPEN = auto()
    FINISHING = auto()  # a FIN once everything is written
    FINISHED = auto()  # the FIN was sent
    CLOSING = auto()  # both directions are closed once everything is written
    ABORTING = auto()  # the RST is set up; the protocol is told in the next event loop iteration
    CLOSED = auto()  # also after the socket was detached


class ProducerState(State):
    """Whether a producer is registered, and whether it may write."""

    NONE = auto()
    PUSHING = auto()  # it writes when it likes
    PAUSED = auto()  # it waits until everything is written
    PULLED = auto()  # it writes once each time that it is asked


class StreamEvent(State):
    """What changes how far the connection is open."""

    FIN_READ = auto()
    END_ASKED = auto()  # loseWriteConnection
    CLOSE_ASKED = auto()  # loseConnection
    ABORT_ASKED = auto()  # abortConnection
    ALL_WRITTEN = auto()  # nothing waits to be written, and no producer is registered
    LOST = auto()  # the socket is closed, or was detached


#: What becomes of the input. An event that is missing indicates a bug: it raises IllegalTransition.
INPUT: Table[StreamInput, StreamEvent] = {
    StreamInput.READING: {
        StreamEvent.FIN_READ: StreamInput.ENDED,
        StreamEvent.CLOSE_ASKED: StreamInput.STOPPED,
        StreamEvent.ABORT_ASKED: StreamInput.STOPPED,
        StreamEvent.LOST: StreamInput.STOPPED,
    },
    StreamInput.PAUSED: {  # the FIN is read like bytes, and so not now
        StreamEvent.CLOSE_ASKED: StreamInput.STOPPED,
        StreamEvent.ABORT_ASKED: StreamInput.STOPPED,
        StreamEvent.LOST: StreamInput.STOPPED,
    },
    StreamInput.ENDED: {
        StreamEvent.CLOSE_ASKED: StreamInput.STOPPED,
        StreamEvent.ABORT_ASKED: StreamInput.STOPPED,
        StreamEvent.LOST: StreamInput.STOPPED,
    },
    StreamInput.STOPPED: {
        StreamEvent.ABORT_ASKED: StreamInput.STOPPED,
        StreamEvent.LOST: StreamInput.STOPPED,
    },
}

#: What becomes of the output.
OUTPUT: Table[StreamOutput, StreamEvent] = {
    StreamOutput.OPEN: {
        StreamEvent.END_ASKED: StreamOutput.FINISHING,
        StreamEvent.CLOSE_ASKED: StreamOutput.CLOSING,
        StreamEvent.ABORT_ASKED: StreamOutput.ABORTING,
        StreamEvent.LOST: StreamOutput.CLOSED,
    },
    StreamOutput.FINISHING: {
        StreamEvent.CLOSE_ASKED: StreamOutput.CLOSING,
        StreamEvent.ABORT_ASKED: StreamOutput.ABORTING,
        StreamEvent.ALL_WRITTEN: StreamOutput.FINISHED,
        StreamEvent.LOST: StreamOutput.CLOSED,
    },
    StreamOutput.FINISHED: {
        StreamEvent.CLOSE_ASKED: StreamOutput.CLOSING,
        StreamEvent.ABORT_ASKED: StreamOutput.ABORTING,
        StreamEvent.LOST: StreamOutput.CLOSED,
    },
    StreamOutput.CLOSING: {
        StreamEvent.ABORT_ASKED: StreamOutput.ABORTING,
        StreamEvent.LOST: StreamOutput.CLOSED,
    },
    StreamOutput.ABORTING: {
        StreamEvent.LOST: StreamOutput.CLOSED,
    },
    StreamOutput.CLOSED: {
        StreamEvent.LOST: StreamOutput.CLOSED,  # the socket of one that is closed may still be asked for
    },
}
