# Will reads this file. Everything may be set in the environment instead, as WILL_SECRET_KEY and so on.

import tiered.integrations.will  # noqa: F401  lets Will find STORAGE_BACKEND = "tiered"

STORAGE_BACKEND = "tiered"
# Redis, which Will needs for its messages anyway, in front of a directory that outlives it.
# Leave it out, and it is made of REDIS_URL and FILE_DIR.
TIERED_URL = "redis://localhost:6379/7,file:./will-memory"

IO_BACKENDS = ["will.backends.io_adapters.shell"]
ANALYZE_BACKENDS = ["will.backends.analysis.history"]
GENERATION_BACKENDS = ["will.backends.generation.strict_regex"]
EXECUTION_BACKENDS = ["will.backends.execution.best_score"]
PLUGINS = ["will.plugins.admin", "plugins"]
PLUGIN_BLACKLIST = []
TEMPLATE_DIRS = []
