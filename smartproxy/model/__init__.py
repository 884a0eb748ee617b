"""What is known of a connection and what the configuration says, as types.

``facts`` are immutable, each holding the one before. ``record`` is the one object that changes while bytes flow.
``outcome`` is the closed set of ways in which a connection can end. ``plan`` is the configuration, compiled.
"""
