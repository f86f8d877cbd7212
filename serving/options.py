"""Numbers that a process has unless its command line says otherwise; they stand here for help to show them at once."""

CONCURRENCY = 256
"""Requests under way in a gateway at most; one more is told to come again."""
