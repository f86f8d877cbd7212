"""Thousands of rollouts against the canary's real statistics, in virtual time: ``make canary``.

``world`` makes the requests of users who differ, ``play`` takes a rollout through its steps and looks after every
50 requests (``running`` has the sums of each look at hand), ``scenarios`` says which rollouts, ``fixed`` what a test of
a fixed size would have needed, ``report`` counts. Decisions are those of ``serving.statistics.sequential_test``.
"""
