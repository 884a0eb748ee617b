"""Admission control: address sets, and limits on the number and rate of connections."""
