"""Typed Flyte tasks: thin wrappers of the packages, one module per stage."""
