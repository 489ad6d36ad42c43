"""The storage backend of the Will bot: `import tiered.integrations.will` in config.py, and STORAGE_BACKEND = "tiered".

Will looks for `will.backends.storage.tiered_backend`; the import puts this package there. It happens while Will reads
its settings, inside a bare except: so nothing here may fail or need Will, and what is wrong is told by `bootstrap`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered.integrations.will.atomic import AtomicStorageMixin
    from tiered.integrations.will.storage import TieredStorage

__all__ = ["AtomicStorageMixin", "TieredStorage", "bootstrap"]

sys.modules["will.backends.storage.tiered_backend"] = sys.modules[__name__]


def bootstrap(settings: Any) -> TieredStorage:
    """What Will calls to get its storage; `settings` is the module will.settings."""
    from tiered.integrations.will.storage import TieredStorage

    return TieredStorage(settings)


def __getattr__(name: str) -> object:
    """Imported when first named: one needs Will, whose settings may be half read at this moment."""
    if name == "TieredStorage":
        from tiered.integrations.will.storage import TieredStorage

        return TieredStorage
    if name == "AtomicStorageMixin":
        from tiered.integrations.will.atomic import AtomicStorageMixin

        return AtomicStorageMixin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
