"""Chains from URLs, TOML files, mappings and TIERED_* environment variables."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

from tiered.arguments import FEEDS, MAX_TTL, READ_ORDERS, check_namespace, choice, expanded, number, tier_name, whole
from tiered.codecs import codec_for
from tiered.codecs.base import MAX_DEPTH, needs_authentication
from tiered.codecs.keys import keyring_of
from tiered.codecs.rules import rules
from tiered.errors import ConfigError
from tiered.tiers.base import Tier
from tiered.urls import pieces

Source = str | Path | Mapping[str, Any]
Reader = Callable[[str], Any]

OPTIONS: dict[str, Reader] = {
    "namespace": str,
    "codec": str,
    "deadline": lambda text: seconds(text),
    "staleness": lambda text: seconds(text),
    "shared": lambda text: boolean(text),
    "max_value_bytes": lambda text: size(text),
    "lease_ttl": lambda text: seconds(text),
    "load_patience": lambda text: seconds(text),
    "read_order": str,
    "feed": str,
    "journal": lambda text: expanded(text),
    "name": str,
    "trace": lambda text: boolean(text),
    "metric_namespaces": lambda text: count(text),
    "serve_unproven": lambda text: boolean(text),
    "keys": str,
    "protect": str,
    "migrate": lambda text: boolean(text),
    "compress_above": lambda text: size(text),
    "max_key_bytes": lambda text: size(text),
    "max_depth": lambda text: count(text),
}
"""The settings beside `url`, and how each is read from a string."""
_KINDS: dict[str, tuple[type, ...]] = {
    "namespace": (str,),
    "journal": (str, os.PathLike),
    "protect": (str,),
    "shared": (str, bool),
    "serve_unproven": (str, bool),
    "migrate": (str, bool),
    "name": (str,),
    "trace": (str, bool),
}
"""What the others may be in a file; numbers and durations are numbers or str."""

_TOPOLOGIES = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
REDIS = ("redis", "rediss", "unix", *_TOPOLOGIES)
COUCHBASE = ("couchbase", "couchbases")
SEVERAL = (*_TOPOLOGIES, *COUCHBASE)
"""Schemes with several addresses, separated by commas."""
BUILT_IN = ("memory", *REDIS, "file", *COUCHBASE)
COUCHBASE_LOGIN = ("user", "password", "certificate")
"""What need not be in a URL: TIERED_COUCHBASE_USER and so on say it, too."""
_MORE_ADDRESSES = re.compile(r"\s*([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?([/?].*)?")
_NEXT_URL = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*:)")
_SECRET_OPTION = re.compile(r"(?i)([?&][^=&,]*(?:pass|secret|token|key)[^=&,]*=)[^&,]*")
_EXAMPLE = "memory://,redis://localhost:6379/0,file:./data"


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
    return _parts(chain)


def directory_of(url: str) -> str | None:
    """Where the file tier of this tier URL is; None for another tier."""
    parts = pieces(url)
    return unquote(os.path.expanduser(parts.path)) if parts.scheme == "file" else None


def settings_from(source: Source | None) -> dict[str, Any]:
    """`url` and constructor options from a TOML file (its `[tiered]` table, or its top level) or a mapping.

    `[[tiered.tiers]]` tables become the `url`; TIERED_URL, TIERED_NAMESPACE and so on override the source.
    """
    settings = dict(_load(source))
    if "tiers" in settings:
        if "url" in settings:
            raise ConfigError("url and tiers both describe the chain; give one of them")
        settings["url"] = _url_of(settings.pop("tiers"))
    known = ("url", "tiers", *OPTIONS)
    settings |= _variables(("url", *OPTIONS))
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{_meant(name, known)}; known: {', '.join(known)}")
        settings[name] = _setting(name, value)
    return settings


def _variables(known: Sequence[str]) -> dict[str, str]:
    """The settings of the environment. TIERED_ may begin other names, too, but hardly those of a misspelt setting."""
    given = {name.removeprefix("TIERED_").lower(): it for name, it in os.environ.items() if name.startswith("TIERED_")}
    for name in set(given) - set(known):
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise ConfigError(f"TIERED_{name.upper()} is no setting; did you mean TIERED_{close[0].upper()}?")
    return {name: value for name, value in given.items() if name in known and value}


def tiers_from_settings(source: Source | None, options: Mapping[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    """Tiers and constructor options from `settings_from(source)`, overridden by `options`."""
    return _built({**settings_from(source), **options})


def tiers_and_options(url: str, options: Mapping[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    """Tiers of a chain URL and constructor options, all checked before the first tier is built."""
    if not isinstance(url, str):
        raise ConfigError(f'a chain is a str such as "{_EXAMPLE}", not {type(url).__name__}')
    return _built({**options, "url": url})


def _built(settings: dict[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    known = ("url", "clock", *OPTIONS)
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{_meant(name, known)}; known: {', '.join(known)}")
        settings[name] = _setting(name, value) if isinstance(value, str) else value
    url = settings.pop("url", None)
    if url is None:
        raise ConfigError(
            f'no chain: give url (--url in a shell), as in "{_EXAMPLE}", in the configuration or as TIERED_URL'
        )
    if settings.get("keys") is not None:
        settings["keys"] = keyring_of(settings["keys"])  # read once
    _check_options(settings)
    return tiers_from_url(url, shared=settings.get("shared", True)), settings


def _check_options(settings: Mapping[str, Any]) -> None:
    """What the constructor would refuse, before a directory was made for nothing."""
    check_namespace(settings.get("namespace", "default"))
    codec = codec_for(settings.get("codec"), settings.get("max_depth", MAX_DEPTH))
    rules(
        compress_above=settings.get("compress_above"),
        max_size=settings.get("max_value_bytes", 1),
        keys=settings.get("keys"),
        protect=settings.get("protect"),
        migrate=settings.get("migrate", False),
        authentic=needs_authentication(codec),
    )
    number("deadline", settings.get("deadline", 1.0), 0.001, MAX_TTL, " seconds")
    number("staleness", settings.get("staleness", 1.0), 0.001, math.inf, " seconds")
    choice("read_order", settings.get("read_order", "declared"), READ_ORDERS)
    choice("feed", settings.get("feed", "write"), FEEDS)
    whole("max_value_bytes", settings.get("max_value_bytes", 1), 1)
    whole("max_key_bytes", settings.get("max_key_bytes", 1), 1)
    whole("metric_namespaces", settings.get("metric_namespaces", 0), 0)
    if not isinstance(shared := settings.get("shared", True), bool):
        raise ConfigError(f"shared must be True or False, not {shared!r:.40}")
    if not isinstance(unproven := settings.get("serve_unproven"), bool | None):
        raise ConfigError(f"serve_unproven must be True, False or None, not {unproven!r:.40}")


def redact(url: str) -> str:
    """`url` (or a chain of them) without user names, passwords and options that look secret."""
    return ",".join(_SECRET_OPTION.sub(r"\1***", _redact_one(part)) for part in _NEXT_URL.split(url))


def seconds(text: str) -> float:
    """ "250ms", "1.5s", "2m", "1h" or a number of seconds."""
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(suffix):
            return _number(text.removesuffix(suffix), text) * factor
    return _number(text, text)


def size(text: str) -> int:
    """ "64mb", "512kb", "1gb" or a number of bytes."""
    lower = text.lower()
    for suffix, factor in (("kb", 2**10), ("mb", 2**20), ("gb", 2**30)):
        if lower.endswith(suffix):
            return round(_number(lower.removesuffix(suffix), text) * factor)
    return round(_number(lower, text))


def count(text: str) -> int:
    """A whole number."""
    number = _number(text, text)
    if not number.is_integer():
        raise ConfigError(f"{text!r} is not a whole number")
    return int(number)


def boolean(text: str) -> bool:
    """true/false, yes/no, 1/0."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def _number(text: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{whole!r} is not a number, a duration such as 250ms, or a size such as 64mb")
    return number


def _setting(name: str, value: Any) -> Any:
    if name not in OPTIONS or (name in ("codec", "keys") and not isinstance(value, str)):
        return value
    kinds = _KINDS.get(name, (str, int, float))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ConfigError(f"{name}: a {type(value).__name__} cannot work here")
    try:
        return OPTIONS[name](str(value))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _specs(url: str) -> list[_Spec]:
    """The tiers of a chain URL, checked; nothing is built."""
    if not isinstance(url, str):
        raise ConfigError(f'a chain is a str such as "{_EXAMPLE}", not {type(url).__name__}')
    parts = _parts(url)
    if not parts:
        raise ConfigError(f'the chain is empty; give tier URLs such as "{_EXAMPLE}"')
    split = [_split(part) for part in parts]  # all schemes first: a stray comma in a password is found here
    specs = [_spec(part, pieces) for part, pieces in zip(parts, split, strict=True)]
    _check_chain(specs)
    return specs


def _parts(chain: str) -> list[str]:
    """The tier URLs of a chain."""
    parts: list[str] = []
    for part in filter(None, map(str.strip, chain.split(","))):
        scheme, _, before = parts[-1].partition("://") if parts else ("", "", "")
        if scheme in SEVERAL and not {"/", "?"} & set(before) and _MORE_ADDRESSES.fullmatch(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _split(url: str) -> SplitResult:
    """The pieces of a tier URL whose scheme is known; no message shows what might be part of a password."""
    parts = pieces(url)
    known = [*BUILT_IN, *(entry.name for entry in _third_parties())]
    if parts.scheme in known:
        _check_spelling(url, parts)
        return parts
    if not parts.scheme or ("@" in url and "://" not in url):
        raise ConfigError(f"a tier URL has no scheme, as in {_EXAMPLE}; a comma inside a URL is written %2C")
    raise ConfigError(f"unknown tier {parts.scheme!r}{_meant(parts.scheme, known)}; known: {', '.join(known)}")


def _check_spelling(url: str, parts: SplitResult) -> None:
    """What urlsplit lets pass although it is hardly what was meant; no message shows what might be part of a password."""
    if parts.scheme in ("redis", "rediss", "unix", *COUCHBASE) and "://" not in url:
        raise ConfigError(f"{parts.scheme}: two slashes are missing; write {parts.scheme}://…")
    if "#" in url:
        raise ConfigError(f"{parts.scheme}: a # inside a URL is written %23")
    if "@" in parts.query:
        raise ConfigError(f"{parts.scheme}: in a password write ? as %3F and / as %2F; in an option write @ as %40")
    if any(not char.isprintable() or char.isspace() for char in parts.netloc):
        raise ConfigError(f"{parts.scheme}: the host has a blank or an unprintable character in it")
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
    own: dict[str, Reader] = {
        "name": tier_name,
        "prefix": str,
        "connect_timeout": seconds,
        "timeout": seconds,
        "max_ttl": seconds,
        "max_connections": count,
        "max_reply_bytes": size,
        "insecure_tls": boolean,
    }
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
    own: dict[str, Reader] = {
        "name": tier_name,
        "prefix": str,
        "connect_timeout": seconds,
        "timeout": seconds,
        "max_ttl": seconds,
        "durability": str,
        **dict.fromkeys(COUCHBASE_LOGIN, str),
    }
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
            raise ConfigError(f"{name}: the Couchbase SDK is missing: pip install 'tiered[couchbase]'") from error
        return CouchbaseTier(rest, **options)

    return _Spec(parts.scheme, name, build)


def _file(parts: SplitResult) -> _Spec:
    if parts.netloc:
        host = parts.netloc.rpartition("@")[2]
        meant = f"file:///{host}{parts.path} (absolute) or file:./{host}{parts.path} (relative)"
        meant = f"file:{host}{parts.path}" if host.startswith("~") else meant
        raise ConfigError(f"file://{host} names a host; write {meant}")
    if not parts.path:
        raise ConfigError("file: needs a directory, as in file:///var/lib/bot or file:./data")
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
            raise ConfigError(f"{parts.scheme}: unknown option {name!r}{_meant(name, own)}; known: {known}")
    # Not urlunsplit: it leaves the slashes out where the host is empty, as in unix:///run/redis.sock and redis://.
    return options, f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(rest)}" if rest else "")


def _load(source: Source | None) -> Mapping[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return source
    try:
        table = tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    inner = table.get("tiered", table)
    if not isinstance(inner, dict):
        raise ConfigError(f"{source}: [tiered] must be a table")
    return inner


def _url_of(tables: Any) -> str:
    """The chain URL of `[[tiers]]` tables: `type`, `url` (Redis) or `directory` (File), and the tier's options."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError('tiers must be a list of tables, as in [[tiered.tiers]] with type = "memory"')
    return ",".join(_one_url(dict(table)) for table in tables)


def _one_url(table: dict[str, Any]) -> str:
    kind = table.pop("type", None)
    if not isinstance(kind, str):
        raise ConfigError('every tier needs a type, as in type = "redis"')
    if kind == "file" and "directory" in table:
        path = quote(str(table.pop("directory")))
        base = f"file://{path}" if path.startswith("/") else f"file:{path}"
    else:
        base = str(table.pop("url", f"{kind}://"))
    options = urlencode({name: str(value) for name, value in table.items()})
    joint = "&" if "?" in base else "?"
    return (base + joint + options if options else base).replace(",", "%2C")


def _redact_one(url: str) -> str:
    head, slashes, rest = url.partition("://")
    if "@" not in rest:
        return url if slashes or "@" not in url or head.startswith("file:") else "***@" + url.rpartition("@")[2]
    return f"{head}://***@{rest.rpartition('@')[2]}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
