"""Bytes to values and back, and nothing else: no clock, no socket, no log, no Twisted.

Each module holds one format, its parser beside its builder, so that the round trip is one test.
A parser is a function of all the bytes that have come so far. It answers with a
:data:`~smartproxy.wire.verdict.Verdict`, never raises on bad input, and is bounded: past its limit the
answer is ``Malformed``, never ``NeedMore``.
"""
