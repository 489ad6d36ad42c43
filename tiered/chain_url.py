"""Chains as URLs: tier URLs separated by commas, checked whole before the first tier is built."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from tiered.arguments import expanded, meant, tier_name
from tiered.errors import ConfigError
from tiered.extras import missing
from tiered.notation import Reader, boolean, count, seconds, size
from tiered.tiers.base import Tier
from tiered.urls import pieces

_TOPOLOGIES = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
REDIS = ("redis", "rediss", "unix", *_TOPOLOGIES)
COUCHBASE = ("couchbase", "couchbases")
SEVERAL = (*_TOPOLOGIES, *COUCHBASE)
"""Schemes with several addresses, separated by commas."""
BUILT_IN = ("memory", *REDIS, "file", *COUCHBASE)
COUCHBASE_LOGIN = ("user", "password", "certificate")
"""What need not be in a URL: TIERED_COUCHBASE_USER and so on say it, too."""
EXAMPLE = "memory://,redis://localhost:6379/0,file:./data"
_SERVER: dict[str, Reader] = {
    "name": tier_name,
    "prefix": str,
    "connect_timeout": seconds,
    "timeout": seconds,
    "max_ttl": seconds,
}
"""The options of every tier that is a server."""
_MORE_ADDRESSES = re.compile(r"\s*([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?([/?].*)?")
_NEXT_URL = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*:)")
_SECRET_OPTION = re.compile(r"(?i)([?&][^=&,]*(?:pass|secret|token|key)[^=&,]*=)[^&,]*")


@dataclass(frozen=True, slots=True)
class _Spec:
    """A checked tier URL. `name` is None where only the tier of a third party knows it."""

    scheme: str
    name: str | None
    build: Callable[[bool], Tier]


def tiers_from_url(url: str, *, shared: bool = True) -> list[Tier]:
    """The tiers of a chain URL, fastest first: URLs separated by commas.

    A comma inside one is written %2C, or as it is between the addresses of a Sentinel or a Cluster.

    Raises `ConfigError` before the first tier is built, and closes what it built if a later tier cannot be opened.
    """
    specs = _specs(url)
    built: dict[int, Tier] = {}
    try:
        for place in sorted(range(len(specs)), key=lambda place: specs[place].scheme == "file"):  # these write first
            built[place] = specs[place].build(shared)
    except BaseException:
        for tier in built.values():
            tier.close()
        raise
    return [built[place] for place in range(len(specs))]


def tier_urls(chain: str) -> list[str]:
    """The tier URLs of a chain."""
    parts: list[str] = []
    for part in filter(None, map(str.strip, chain.split(","))):
        scheme, _, before = parts[-1].partition("://") if parts else ("", "", "")
        if scheme in SEVERAL and not {"/", "?"} & set(before) and _MORE_ADDRESSES.fullmatch(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def record_of(chain: str) -> str:
    """The tier URL of the store of record; nothing is built. Raises `ConfigError` as `tiers_from_url` does before it builds."""
    _specs(chain)
    return tier_urls(chain)[-1]


def directory_of(url: str) -> str | None:
    """Where the file tier of this tier URL is; None for another tier."""
    parts = pieces(url)
    return unquote(os.path.expanduser(parts.path)) if parts.scheme == "file" else None


def redact(url: str) -> str:
    """`url` (or a chain of them) without user names, passwords and options that look secret."""
    return ",".join(_SECRET_OPTION.sub(r"\1***", _redact_one(part)) for part in _NEXT_URL.split(url))


def _specs(url: str) -> list[_Spec]:
    """The tiers of a chain URL, checked; nothing is built."""
    if not isinstance(url, str):
        raise ConfigError(f'a chain is a str such as "{EXAMPLE}", not {type(url).__name__}')
    parts = tier_urls(url)
    if not parts:
        raise ConfigError(f'the chain is empty; give tier URLs such as "{EXAMPLE}"')
    split = [_split(part) for part in parts]  # all schemes first: a stray comma in a password is found here
    specs = [_spec(*it) for it in zip(parts, split, strict=True)]
    _check_chain(specs)
    return specs


def _split(url: str) -> SplitResult:
    """The pieces of a tier URL whose scheme is known; no message shows what might be part of a password."""
    parts = pieces(url)
    known = [*BUILT_IN, *(entry.name for entry in _third_parties())]
    if parts.scheme in known:
        _check_spelling(url, parts)
        return parts
    if not parts.scheme or ("@" in url and "://" not in url):
        raise ConfigError(f"a tier URL has no scheme, as in {EXAMPLE}; a comma inside a URL is written %2C")
    raise ConfigError(f"unknown tier {parts.scheme!r}{meant(parts.scheme, known)}; known: {', '.join(known)}")


def _check_spelling(url: str, parts: SplitResult) -> None:
    """What urlsplit lets pass although it is hardly what was meant; no message shows what might be part of a password."""
    if parts.scheme in ("redis", "rediss", "unix", *COUCHBASE) and "://" not in url:
        raise ConfigError(f"{parts.scheme}: two slashes are missing; write {parts.scheme}://…")
    if "#" in url:
        raise ConfigError(f"{parts.scheme}: a # inside a URL is written %23")
    if "@" in parts.query:
        raise ConfigError(f"{parts.scheme}: in a password write ? as %3F and / as %2F; in an option write @ as %40")
    if any(not char.isprintable() or char.isspace() for char in parts.netloc):
        raise ConfigError(
            f"{parts.scheme}: the host has a blank or an unprintable character in it; a comma is between tiers"
        )
    given = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    for option in given:
        if given.count(option) > 1:
            raise ConfigError(f"{parts.scheme}: {option} is given more than once")


def _third_parties() -> Iterable[EntryPoint]:
    return entry_points(group="tiered.tiers")


def _spec(url: str, parts: SplitResult) -> _Spec:
    readers = {
        "memory": _memory,
        **dict.fromkeys(REDIS, _redis),
        "file": _file,
        **dict.fromkeys(COUCHBASE, _couchbase),
    }
    if parts.scheme in readers:
        return readers[parts.scheme](parts)
    entry = next(entry for entry in _third_parties() if entry.name == parts.scheme)
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{parts.scheme}: {entry.value} cannot be imported: {error}") from error
    return _Spec(parts.scheme, None, lambda _: factory(url))


def _check_chain(specs: list[_Spec]) -> None:
    names = [spec.name for spec in specs if spec.name is not None]
    if any(spec.scheme == "memory" for spec in specs[1:]):
        raise ConfigError("memory must be the first tier, and there can be only one")
    if len(set(names)) != len(names):
        raise ConfigError(f"tier names must differ: {', '.join(names)}; give one of them ?name=...")


def _memory(parts: SplitResult) -> _Spec:
    if parts.netloc or parts.path:
        raise ConfigError("memory:// takes options only, as in memory://?max_entries=100000&max_bytes=64mb")
    options, _ = _options(parts, {"name": tier_name, "max_entries": count, "max_bytes": size})

    def build(_: bool) -> Tier:
        from tiered.tiers.memory import MemoryTier

        return MemoryTier(**options)

    return _Spec("memory", options.get("name", "memory"), build)


def _redis(parts: SplitResult) -> _Spec:
    own: dict[str, Reader] = {**_SERVER, "max_connections": count, "max_reply_bytes": size, "insecure_tls": boolean}
    from tiered.tiers import redis_url

    options, rest = _options(parts, own, redis_url.QUERY_OPTIONS)
    name = options.get("name", "redis")
    try:
        _ = parts.scheme in _TOPOLOGIES or parts.port
    except ValueError:
        message = "the port is not a number from 0 to 65535; in a password write / as %2F, @ as %40, a comma as %2C"
        raise ConfigError(f"{name}: {message}") from None
    redis_url.check_url(rest, name, options.get("insecure_tls", False))

    def build(_: bool) -> Tier:
        from tiered.tiers.redis import RedisTier

        return RedisTier(rest, **options)

    return _Spec(parts.scheme, name, build)


def _couchbase(parts: SplitResult) -> _Spec:
    own: dict[str, Reader] = {**_SERVER, "durability": str, **dict.fromkeys(COUCHBASE_LOGIN, str)}
    options, rest = _options(parts, own)
    for name in COUCHBASE_LOGIN:
        if name not in options and (value := os.environ.get(f"TIERED_COUCHBASE_{name.upper()}")):
            options[name] = value
    name = options.get("name", "couchbase")
    from tiered.tiers.couchbase_url import address_of

    address_of(rest, name, **{option: options.get(option) for option in COUCHBASE_LOGIN})

    def build(_: bool) -> Tier:
        try:
            from tiered.tiers.couchbase import CouchbaseTier
        except ImportError as error:
            raise missing(f"{name}: the Couchbase SDK is missing", "couchbase") from error
        return CouchbaseTier(rest, **options)

    return _Spec(parts.scheme, name, build)


def _file(parts: SplitResult) -> _Spec:
    if parts.netloc:
        host = parts.netloc.rpartition("@")[2]
        both = f"file:///{host}{parts.path} (absolute) or file:./{host}{parts.path} (relative)"
        right = f"file:{host}{parts.path}" if host.startswith("~") else both
        raise ConfigError(f"file://{host} names a host; write {right}")
    if not parts.path.strip("/"):  # nor "/" itself, which is what file:///$DATA is where that is not set
        raise ConfigError("file: needs a directory of its own, as in file:///var/lib/bot or file:./data")
    options, _ = _options(parts, {"name": tier_name, "sync": str, "max_pending": count})
    directory = unquote(expanded(parts.path))

    def build(shared: bool) -> Tier:
        from tiered.tiers.file import FileTier

        return FileTier(directory, shared=shared, **options)

    return _Spec("file", options.get("name", "file"), build)


def _options(parts: SplitResult, own: Mapping[str, Reader], drivers: Iterable[str] = ()) -> tuple[dict[str, Any], str]:
    """The options that are ours, and the URL with the driver's only."""
    options, rest = dict[str, Any](), []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in own:
            try:
                options[name] = own[name](value)
            except ConfigError as error:
                raise ConfigError(f"{parts.scheme}: {name}: {error}") from None
        elif name in drivers:
            rest.append((name, value))
        else:
            known = ", ".join(sorted(own))
            raise ConfigError(f"{parts.scheme}: unknown option {name!r}{meant(name, own)}; known: {known}")
    # Not urlunsplit: it leaves the slashes out where the host is empty, as in unix:///run/redis.sock and redis://.
    return options, f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(rest)}" if rest else "")


def _redact_one(url: str) -> str:
    head, slashes, rest = url.partition("://")
    if "@" not in rest:
        return url if slashes or "@" not in url or head.startswith("file:") else "***@" + url.rpartition("@")[2]
    return f"{head}://***@{rest.rpartition('@')[2]}"
