"""Will's COUCHBASE_URL, as the URL of a tier and as the address of what Will's own backend kept there."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote, urlencode

from tiered.chain_url import COUCHBASE, COUCHBASE_LOGIN
from tiered.errors import ConfigError
from tiered.notation import seconds
from tiered.tiers.couchbase_url import Address, address_of

EXAMPLE = "couchbase://hostname/bucket?password=123abc"
TIMEOUT = 2.0
"""Seconds, of a bucket with no tier below it: what it does not answer nobody does, so it gets more time than a cache."""
_OLD_PORT = ":8091"
"""Of the server's web interface, where clients of Will's time began; today's ask the data service, which has its own."""


def couchbase_url(setting: str) -> str:
    """The URL of a tier for `setting`; raises `ConfigError` and shows nothing that might be part of a password."""
    place, login, timeout = _parts(setting)
    options = {**login, "timeout": f"{timeout}s", "connect_timeout": f"{max(TIMEOUT, timeout)}s"}
    return f"{place.replace(',', '%2C')}?{urlencode(options, quote_via=quote)}"


def couchbase_address(setting: str) -> Address:
    """Where `setting` leads, with what TIERED_COUCHBASE_… in the environment says of the login; raises `ConfigError`."""
    place, login, _ = _parts(setting)
    known = {name: login.get(name) or os.environ.get(f"TIERED_COUCHBASE_{name.upper()}") for name in COUCHBASE_LOGIN}
    return address_of(place, "COUCHBASE_URL", **known)


def _parts(setting: str) -> tuple[str, dict[str, str], float]:
    """The URL without login and options, the login as far as it is said here, and seconds for an answer.

    Will's own examples have to work: no query, no host (this one), several hosts, and no user. Couchbase has known buckets
    with a password of their own; a server that was upgraded has a user for each, called after it.
    """
    if not isinstance(setting, str):
        raise ConfigError(f"COUCHBASE_URL must be a str such as {EXAMPLE}, not {type(setting).__name__}")
    url, _, query = setting.strip().partition("?")
    scheme, _, rest = url.partition("://")
    authority, _, bucket = rest.partition("/")
    bucket = bucket.strip("/")
    if scheme not in COUCHBASE or not bucket:
        raise ConfigError(f"COUCHBASE_URL cannot be read; it looks like {EXAMPLE} (couchbases:// for TLS)")
    own_login, _, hosts = authority.rpartition("@")
    login, timeout = _options(query)
    for name, value in zip(("user", "password"), own_login.split(":", 1), strict=False):
        if value:
            login[name] = unquote(value)
    if "user" not in login and not os.environ.get("TIERED_COUCHBASE_USER"):
        login["user"] = bucket.partition("/")[0]
    hosts = ",".join(host.removesuffix(_OLD_PORT) for host in hosts.split(",")) or "localhost"
    return f"{scheme}://{hosts}/{quote(bucket)}", login, timeout


def _options(query: str) -> tuple[dict[str, str], float]:
    """Login and timeout; as Will reads them, values stand there as they are."""
    given = dict(part.partition("=")[::2] for part in query.split("&") if part)
    timeout = _timeout(given.pop("timeout", ""))
    login = {"user": given.pop("username", ""), "password": given.pop("password", "")}
    if given:
        raise ConfigError(
            "COUCHBASE_URL has a parameter other than username, password and timeout, which was for a client that is gone;"
            " leave it out, or write the chain as TIERED_URL"
        )
    return {name: value for name, value in login.items() if value}, timeout


def _timeout(text: str) -> float:
    try:
        return seconds(text) if text else TIMEOUT
    except ConfigError:
        raise ConfigError("COUCHBASE_URL: timeout must be a number of seconds, as in timeout=5") from None
