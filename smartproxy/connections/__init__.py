"""Live connections: their registry, timeouts, the search for dead ones, and the clean-up of closed ones."""
