"""The tables of a configuration and the types of their values: what a single key may be."""
