"""A module that raises while it is imported, for a test."""

thing = 1 / 0
