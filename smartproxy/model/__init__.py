"""What is known, and of which type: facts that grow along the path, and what the path was told to do.

``facts`` are immutable, each holding the one before. ``record`` is the one mutable thing. ``outcome`` is
the closed set of ways in which a connection can end. ``plan`` is the configuration, compiled.
"""
