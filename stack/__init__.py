"""What a machine needs for development and tests: installs, and real servers on loopback.

No production code imports this package.
"""
