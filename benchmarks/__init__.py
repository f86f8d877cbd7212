"""Fuelline compared with common alternatives, measured in one run on one machine: ``make bench``.

Absolute figures depend more on the machine than on the code, so every figure is compared with that of a peer that did
the same job in the same minutes. Contenders take turns (ours, peer, ours, peer), each in a fresh process, and the
median of the turns counts. This package may import anything of Fuelline; nothing of Fuelline imports it.

Modules that end in ``_peer`` run in the peers' environment, all others in Fuelline's.
"""
