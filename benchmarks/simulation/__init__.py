"""Months of traffic against the real triggers, on a clock that does not tick by itself: ``make simulate``.

``world`` makes interactions and ``real`` replays those of public data sets; ``history`` shows them to the triggers as a
lake would; ``play`` looks every hour, and trains for some hours when asked; ``scenarios`` says what happens and what
ought to be noticed; ``doubling`` changes an error rate many times over; ``report`` compares. The triggers' code is that
of production.
"""
