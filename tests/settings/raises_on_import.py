"""For a test: a module that cannot be imported."""

thing = 1 / 0
