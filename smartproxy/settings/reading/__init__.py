"""Reads YAML, JSON and TOML to plain values, and finds the line of each key."""
