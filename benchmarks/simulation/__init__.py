"""Months of traffic against the real triggers, on a simulated clock: ``make simulate``.

``world`` creates interactions and ``real`` replays those of public data sets; ``history`` gives them to the triggers as
a lake does; ``play`` checks every hour and simulates trainings of some hours; ``scenarios`` defines the changes and the
expected alarms; ``doubling`` doubles error rates in many repetitions; ``report`` compares. The code of the triggers is
that of production.
"""
