"""What Fuelline costs beside what people would otherwise use, measured in one run on one machine: ``make bench``.

Absolute figures say more about the machine than about the code, so every figure stands beside that of a peer that did
the same job in the same minutes. Contenders take turns (ours, peer, ours, peer), each in a fresh process, and the
median of the turns counts. This package may import anything of Fuelline; nothing of Fuelline imports it.

Modules that end in ``_peer`` run in the peers' environment, all others in Fuelline's.
"""
