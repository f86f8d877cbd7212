"""Workflows: the wiring of tasks, and nothing else."""
