"""Logs: the access log and its file, and the log of refused connections."""
