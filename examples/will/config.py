# Will reads this file. Everything may be set in the environment instead, as WILL_SECRET_KEY and so on.

import tiered.integrations.will  # noqa: F401  lets Will find STORAGE_BACKEND = "tiered"

STORAGE_BACKEND = "tiered"
# A directory of this host. "redis://localhost:6379/7?timeout=2s" is a Redis that persists; "redis://…,file:…" is Redis as a cache, too.
# Leave it out, and it is FILE_DIR or COUCHBASE_URL, else REDIS_URL.
TIERED_URL = "file:./will-memory"

IO_BACKENDS = ["will.backends.io_adapters.shell"]
ANALYZE_BACKENDS = ["will.backends.analysis.history"]
GENERATION_BACKENDS = ["will.backends.generation.strict_regex"]
EXECUTION_BACKENDS = ["will.backends.execution.best_score"]
PLUGINS = ["will.plugins.admin", "plugins"]
PLUGIN_BLACKLIST = []
TEMPLATE_DIRS = []
