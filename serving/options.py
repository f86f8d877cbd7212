"""Defaults of the serving commands, in a module without heavy imports so that ``--help`` answers at once."""

CONCURRENCY = 256
"""Default limit of concurrent requests of a gateway; any more are refused with 429."""
