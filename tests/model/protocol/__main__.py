"""`python -m tests.model.protocol` prints every counter-example; with names of rules, only theirs."""

from __future__ import annotations

import sys

from tests.model.protocol.necessity import NEEDED, REMAINS, remaining, without

for name in sys.argv[1:] or NEEDED:
    print(f"Without {name}, in “{NEEDED[name]}”:\n{without(name)}\n")
if not sys.argv[1:]:
    print(f"With all rules, in “{REMAINS}”:\n{remaining()}")
