"""What starts a retraining by itself: rules, the evidence they look at, and decisions that the ledger keeps.

``rules`` are what a launch plan fixes; ``counts``, ``rates`` and ``features.drift`` the statistics; ``history`` what a
look reads of the lake; ``findings`` (and ``drifted``) what a rule makes of it; ``requests`` how one training comes of
many decisions; ``decisions`` what is written; ``why`` how it is told.
"""
