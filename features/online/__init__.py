"""The online store: materialization and reads through Feast."""
