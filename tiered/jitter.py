"""How much of a pause to take, so that those who wait for the same do not come back together.

Not by the program's `random`: that may be seeded, and is its own; and a child after a fork would draw what its parent draws.
"""

from __future__ import annotations

from random import SystemRandom

jitter = SystemRandom().random
"""A number in [0, 1). Thread-safe."""
