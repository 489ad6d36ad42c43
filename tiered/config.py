"""Chains from URLs, TOML files, mappings and TIERED_* environment variables."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from tiered.errors import ConfigError
from tiered.tiers.base import Tier

OPTIONS: dict[str, Callable[[str], Any]] = {
    "namespace": str,
    "codec": str,
    "deadline": lambda text: seconds(text),
    "staleness": lambda text: seconds(text),
    "shared": lambda text: boolean(text),
    "max_value_bytes": lambda text: size(text),
}
"""The settings beside `url`, and how each is read from a string."""


def tiers_from_url(url: str, *, shared: bool = True) -> list[Tier]:
    """The tiers of a chain URL, fastest first: URLs separated by commas (a comma inside one is written %2C)."""
    parts = [part.strip() for part in url.split(",") if part.strip()]
    if not parts:
        raise ConfigError('the chain is empty; give tier URLs such as "memory://,redis://localhost:6379/0,file:./data"')
    specs = [_spec(part) for part in parts]  # every URL is checked before the first tier is built
    return [build(shared) for build in specs]


def tiers_from_settings(
    source: str | Path | Mapping[str, Any] | None, options: Mapping[str, Any]
) -> tuple[list[Tier], dict[str, Any]]:
    """Tiers and constructor options from a TOML file (its `[tiered]` table, or its top level) or a mapping.

    TIERED_URL, TIERED_NAMESPACE and so on override the file; `options` override both.
    """
    settings = dict(_load(source))
    for name in ("url", *OPTIONS):
        if (value := os.environ.get(f"TIERED_{name.upper()}")) is not None:
            settings[name] = value
    settings.update(options)
    url = settings.pop("url", None)
    if not isinstance(url, str):
        raise ConfigError('no chain: set url = "memory://,file:./data" in the configuration, or TIERED_URL')
    for name, value in settings.items():
        if name not in OPTIONS:
            raise ConfigError(f"unknown setting {name!r}{_meant(name, OPTIONS)}; known: url, {', '.join(OPTIONS)}")
        if isinstance(value, str):
            settings[name] = OPTIONS[name](value)
    return tiers_from_url(url, shared=settings.get("shared", True)), settings


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


def boolean(text: str) -> bool:
    """true/false, yes/no, 1/0."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{whole!r} is not a number, a duration such as 250ms, or a size such as 64mb") from None


def _spec(url: str) -> Callable[[bool], Tier]:
    """How to build the tier of one URL; raises `ConfigError` for what cannot work."""
    parts = urlsplit(url)
    schemes = {"memory": _memory, "redis": _redis, "rediss": _redis, "unix": _redis, "file": _file}
    if parts.scheme in schemes:
        return schemes[parts.scheme](url)
    for entry in entry_points(group="tiered.tiers", name=parts.scheme or "?"):
        factory = entry.load()
        return lambda _: factory(url)
    raise ConfigError(
        f"unknown tier {parts.scheme or url!r:.40}{_meant(parts.scheme, schemes)}; known: memory, redis, file"
    )


def _memory(url: str) -> Callable[[bool], Tier]:
    parts = urlsplit(url)
    if parts.netloc or parts.path:
        raise ConfigError("memory:// takes options only, as in memory://?max_entries=100000&max_bytes=64mb")
    options, _ = _options(url, {"name": str, "max_entries": size, "max_bytes": size})

    def build(_: bool) -> Tier:
        from tiered.tiers.memory import MemoryTier

        return MemoryTier(**options)

    return build


def _redis(url: str) -> Callable[[bool], Tier]:
    own: dict[str, Callable[[str], Any]] = {
        "name": str,
        "prefix": str,
        "connect_timeout": seconds,
        "timeout": seconds,
        "max_ttl": seconds,
        "max_connections": size,
        "insecure_tls": boolean,
    }
    drivers = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "db"}
    options, rest = _options(url, own, drivers)
    from tiered.tiers.redis_link import check_url

    check_url(rest, options.get("name", "redis"), options.get("insecure_tls", False))

    def build(_: bool) -> Tier:
        from tiered.tiers.redis import RedisTier

        return RedisTier(rest, **options)

    return build


def _file(url: str) -> Callable[[bool], Tier]:
    parts = urlsplit(url)
    if parts.netloc:
        meant = f"file:///{parts.netloc}{parts.path} (absolute) or file:./{parts.netloc}{parts.path} (relative)"
        raise ConfigError(f"file://{parts.netloc} names a host; write {meant}")
    if not parts.path:
        raise ConfigError("file: needs a directory, as in file:///var/lib/bot or file:./data")
    options, _ = _options(url, {"name": str, "sync": str})

    def build(shared: bool) -> Tier:
        from tiered.tiers.file import FileTier

        return FileTier(unquote(parts.path), shared=shared, **options)

    return build


def _options(
    url: str, own: Mapping[str, Callable[[str], Any]], drivers: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """The options that are ours, and the URL with the driver's only."""
    parts = urlsplit(url)
    options, rest = dict[str, Any](), []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in own:
            options[name] = own[name](value)
        elif name in drivers:
            rest.append((name, value))
        else:
            raise ConfigError(
                f"{parts.scheme}: unknown option {name!r}{_meant(name, own)}; known: {', '.join(sorted(own))}"
            )
    return options, urlunsplit(parts._replace(query=urlencode(rest)))


def _load(source: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return source
    try:
        table = tomllib.loads(Path(source).read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    inner = table.get("tiered", table)
    if not isinstance(inner, dict):
        raise ConfigError(f"{source}: [tiered] must be a table")
    return inner


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
