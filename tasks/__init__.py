"""Typed Flyte tasks: thin shells over the packages, one module a stage."""
