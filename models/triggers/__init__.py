"""Automatic retraining: rules, the evidence they test, and their decisions, which the ledger keeps.

``rules`` are the thresholds, inputs of the launch plans; ``counts``, ``significance``, ``rates``, ``power`` and
``features.drift`` are the statistics; ``history`` reads the lake; ``findings`` and ``drift`` apply a rule; ``requests``
make one training of many decisions; ``decisions`` record them. ``reports.trigger_explanation`` presents them.
"""
