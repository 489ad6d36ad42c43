"""What Will tells about a setting that is missing, and how to obtain it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Setting = dict[str, str]

URL: Setting = {
    "name": "TIERED_URL",
    "obtain_at": """Choose where Will's memory lives, fastest first; the last one is the store of record.

Examples:

* file:///var/lib/will                                    a directory on this host
* redis://localhost:6379/7?timeout=2s                     a Redis that persists what it is told
* couchbase://bot:PASSWORD@one.example,two.example/chat   a Couchbase bucket that many hosts share
* redis://localhost:6379/7,file:///var/lib/will           Redis, and a directory that survives it

Without TIERED_URL it is FILE_DIR or COUCHBASE_URL, if you have set one of them, else REDIS_URL.""",
}
REDIS_URL: Setting = {
    "name": "REDIS_URL",
    "obtain_at": """The Redis that Will uses already, as in redis://localhost:6379/7 (rediss:// for TLS).
It is the store of record, unless you set FILE_DIR, COUCHBASE_URL or TIERED_URL.""",
}
FILE_DIR: Setting = {
    "name": "FILE_DIR",
    "obtain_at": """The directory that Will uses already, as in ~/.will. A directory "tiered" is made in it.""",
}
COUCHBASE_URL: Setting = {
    "name": "COUCHBASE_URL",
    "obtain_at": """The Couchbase bucket that Will uses already. It needs pip install '.[couchbase]' where tiered's sources are. Examples:

* couchbase:///bucket
* couchbase://host1,host2/bucket
* couchbase://hostname/bucket?username=bot&password=123abc&timeout=5    (couchbases:// for TLS)

Without a user, it is the one who is called like the bucket.""",
}
OPTIONS: list[Setting] = [
    {
        "name": "TIERED_NAMESPACE",
        "obtain_at": """A name for this bot, 1 to 64 letters, digits, dots, underscores and dashes; by default "will".
Bots that share a Redis need different ones.""",
    },
    {
        "name": "TIERED_STALENESS",
        "obtain_at": """Seconds that a process which alone is cut off from Redis may read what others have changed; 1.5.""",
    },
    {
        "name": "TIERED_DEADLINE",
        "obtain_at": """Seconds that one call may spend on cache tiers; 1.0.""",
    },
    {
        "name": "TIERED_MAX_VALUE_BYTES",
        "obtain_at": """How large one value may be, as in 20mb (the default); Will's message_history only grows.""",
    },
    {
        "name": "TIERED_KEYS",
        "obtain_at": """Where the keys are with which tiered encrypts all that it stores: env:NAME or file:PATH.
1. pip install '.[crypto]' where tiered's sources are
2. tiered keygen may --out keys
3. Set it to "file:" and the path of that file.""",
    },
    {
        "name": "TIERED_JOURNAL",
        "obtain_at": """A directory on this host's disk, for a Redis cache above another Redis: docs/journal.md of tiered.""",
    },
]


def required_settings(options: Mapping[str, Any], will: Mapping[str, Any]) -> list[Setting]:
    """The settings that this bot's chain rests on, for Will to check and to show."""
    known = [URL, *OPTIONS]
    given = [setting for setting in known if will.get(setting["name"])]
    if URL not in given and "url" in options:
        sources = [setting for setting in (FILE_DIR, COUCHBASE_URL, REDIS_URL) if will.get(setting["name"])]
        return [*sources[:1], *given]  # none of these, if TIERED_URL is in the environment alone
    return given if URL in given else [URL, *given]
