"""Real servers on loopback for development and for the tests: never imported by what runs in production."""
