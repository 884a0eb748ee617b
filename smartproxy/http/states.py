"""States of the messages of an HTTP/1 connection, as tables.

::

    request:  HEAD --> BODY --> COMPLETE --> HEAD          of a client; without a body BODY is left at once
    reply:    AWAITED --> STARTED --> COMPLETE             to a client; a new one for each request
    answer:   COMPLETE --> AWAITED --> BODY --> COMPLETE   of a target, whose connection is idle in between
"""

from __future__ import annotations

from enum import auto

from smartproxy.flow.states import State, Table


class MessageEvent(State):
    """What changes the state of a message."""

    BEGUN = auto()
    ENDED = auto()
    NEXT = auto()


class RequestState(State):
    """What was received of a client's request."""

    HEAD = auto()
    BODY = auto()
    COMPLETE = auto()


class ReplyState(State):
    """What was sent of the answer to a client."""

    AWAITED = auto()
    STARTED = auto()
    COMPLETE = auto()


class AnswerState(State):
    """What was received of a target's answer."""

    AWAITED = auto()
    BODY = auto()
    COMPLETE = auto()


_BEGUN, _ENDED, _NEXT = MessageEvent
REQUEST: Table[RequestState, MessageEvent] = {
    RequestState.HEAD: {_BEGUN: RequestState.BODY},
    RequestState.BODY: {_ENDED: RequestState.COMPLETE},
    RequestState.COMPLETE: {_NEXT: RequestState.HEAD},
}
REPLY: Table[ReplyState, MessageEvent] = {
    ReplyState.AWAITED: {_BEGUN: ReplyState.STARTED},
    ReplyState.STARTED: {_ENDED: ReplyState.COMPLETE},
    ReplyState.COMPLETE: {},
}
ANSWER: Table[AnswerState, MessageEvent] = {
    AnswerState.AWAITED: {_BEGUN: AnswerState.BODY},
    AnswerState.BODY: {_ENDED: AnswerState.COMPLETE},
    AnswerState.COMPLETE: {_NEXT: AnswerState.AWAITED},
}
