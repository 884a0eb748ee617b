"""Selection of the route for a connection: pure functions on its facts, used by the control path and by ``explain``.

``domains`` and ``paths`` are the two kinds of pattern, ``matchers`` turns a route's ``match`` into conditions,
``table`` finds the route, and ``explain`` gives the reasons.
"""
