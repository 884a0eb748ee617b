"""Which route takes a connection: pure functions on facts, the same ones for the path and for ``explain``.

``domains`` and ``paths`` are the two kinds of pattern, ``matchers`` is what one route asks, ``table`` finds the
route, ``explain`` says why.
"""
