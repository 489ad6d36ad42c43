"""For the tests of others: a clock, the contracts of a tier, to be subclassed, and the chaos kit."""

import sys

if "pytest" in sys.modules:  # then a contract that is not met shows the values, as one's own asserts do
    sys.modules["pytest"].register_assert_rewrite(
        "tiered.testing.contract", "tiered.testing.enumerable_contract", "tiered.testing.journal_contract"
    )
