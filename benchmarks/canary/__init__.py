"""Simulation of thousands of rollouts with the canary's real statistics, in virtual time: ``make canary``.

``traffic`` draws the requests of users who differ, ``simulation`` takes a rollout through its steps with an interim
analysis after every 50 requests (``running_sums`` has the sums of each), ``scenarios`` lists the kinds of rollouts,
``fixed_size`` computes what a test of a fixed size needs, and ``report`` counts the ends.
"""
