"""Wire formats: parsers and builders without I/O (sans-IO). No clock, no socket, no log, no Twisted.

Each module holds one format, its parser beside its builder, so that the round trip is one test.
A parser is a function of all bytes received so far. It returns a :data:`~smartproxy.wire.verdict.Verdict`, never
raises on malformed input, and is bounded: above its limit it returns ``Malformed``, never ``NeedMore``.
"""
