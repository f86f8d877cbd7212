"""Real servers on loopback for development and tests; no production code imports this package."""
