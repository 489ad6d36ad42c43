"""The chain that Will's settings ask for: TIERED_URL, or one made of a setting that Will has already."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from tiered.config import settings_from
from tiered.errors import ConfigError
from tiered.integrations.will.couchbase_url import couchbase_url

NAMESPACE = "will"
RECORD_TIMEOUTS = "timeout=2s&connect_timeout=2s"
"""Of a Redis with no tier below it: what it does not answer nobody does, so it gets more time than a cache."""
_EXAMPLE = "redis://localhost:6379/7,file:///var/lib/will"
_MANGLED = tuple(f"redis://{scheme}" for scheme in ("redis:", "rediss:", "unix:", "redis+", "rediss+"))
"""What Will makes of a REDIS_URL that does not begin with redis://."""


def settings_of(will: Any) -> dict[str, Any]:
    """`url`, `namespace` and options, as `tiered.config` takes them; without a `url` where nothing names a place.

    Every TIERED_… of Will's settings (config.py, or WILL_TIERED_… in the environment) is one, and TIERED_… in the
    environment overrides it, as everywhere in tiered. Raises `ConfigError`.
    """
    given = {
        name[7:].lower(): value for name, value in vars(will).items() if name.startswith("TIERED_") and value != ""
    }
    settings = settings_from({"namespace": NAMESPACE, **given})
    if settings.get("shared") is False:
        raise ConfigError("shared must be true: Will's processes use the store at the same time")
    if settings.get("feed", "write") != "write":
        raise ConfigError(
            "feed must be 'write': other processes of Will load what was saved a moment ago, and save it again"
        )
    if "url" not in settings and (url := chain_of(vars(will))):
        settings["url"] = url
    return settings


def chain_of(will: Mapping[str, Any]) -> str:
    """A chain URL from FILE_DIR or COUCHBASE_URL, else from REDIS_URL; "" if there is none. Raises `ConfigError`.

    Not of several: without memory above it, a Redis is slower to read than a directory of this host (docs/order.md), and Will
    sets REDIS_URL in any case, for its messages.
    """
    directory, bucket = will.get("FILE_DIR"), will.get("COUCHBASE_URL")
    if directory and bucket:
        raise ConfigError(
            f'FILE_DIR and COUCHBASE_URL are both set: take one of them out, or write the chain as TIERED_URL, as in "{_EXAMPLE}"'
        )
    if directory:
        return file_url(directory)
    if bucket:
        return couchbase_url(bucket)
    if redis := will.get("REDIS_URL"):
        return _with_time(redis_url(redis))
    return ""


def redis_url(setting: str) -> str:
    """The URL of a tier for Will's REDIS_URL, read as Will reads it: password as it stands, no user, no options.

    What Will itself has prefixed with redis:// although it had a scheme, such as rediss://, is taken as it was meant.
    """
    if not isinstance(setting, str):
        raise ConfigError(f"REDIS_URL must be a str such as redis://localhost:6379/7, not {type(setting).__name__}")
    url = setting.strip()
    if url.startswith(_MANGLED):
        url = url.removeprefix("redis://")
    elif "://" not in url:
        url = f"redis://{url}"
    if not url.startswith("redis://"):
        return url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:  # its message might show the password
        raise ConfigError("REDIS_URL cannot be read; it looks like redis://:PASSWORD@localhost:6379/7") from None
    secret = f":{quote(parts.password, safe='')}@" if parts.password else ""
    return f"redis://{secret}{f'[{host}]' if ':' in host else host}:{port}/{parts.path[1:] or 0}"


def file_url(directory: str | os.PathLike[str]) -> str:
    """The URL of a tier in a directory of its own beneath Will's FILE_DIR, whose files stay as they are."""
    try:
        path = os.path.abspath(os.path.expanduser(os.fspath(directory)))
    except TypeError:
        raise ConfigError(f"FILE_DIR must be the path of a directory, not a {type(directory).__name__}") from None
    return f"file://{quote(os.path.join(path, 'tiered'))}"


def _with_time(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{RECORD_TIMEOUTS}"
