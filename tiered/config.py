"""Settings: from a TOML file or a mapping, overlaid by TIERED_* variables and by what the caller gives."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tiered.arguments import meant, text_of
from tiered.chain_url import COUCHBASE_LOGIN, EXAMPLE, tiers_from_url
from tiered.codecs.keys import keyring_of
from tiered.errors import ConfigError
from tiered.options import OPTIONS, forms, read
from tiered.tiers.base import Tier

Source = str | Path | Mapping[str, Any]
NO_CHAIN = f'no chain: give url (--url in a shell), as in "{EXAMPLE}", in the configuration or as TIERED_URL'
_LOGIN = tuple(f"couchbase_{name}" for name in COUCHBASE_LOGIN)
"""Variables that the tier of a Couchbase reads by itself."""
_OTHERS = re.compile(r"test_.*|service_host|service_port(_.*)?|port(_\d+_(tcp|udp|sctp)(_.*)?)?")
"""Variables that are no settings: of our own tests, and what Kubernetes gives containers beside a service called tiered."""


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
    settings |= _variables()
    for name, value in settings.items():
        if name not in known:
            if isinstance(value, Mapping):
                raise ConfigError(f"[{name}] is no table of settings; they are in [tiered]")
            raise ConfigError(f"unknown setting {name!r}{meant(name, known)}; known: {', '.join(known)}")
        settings[name] = read(name, value)
    return settings


def tiers_from_settings(source: Source | None, options: Mapping[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    """Tiers and constructor options from `settings_from(source)`, overridden by `options`."""
    return _built({**settings_from(source), **options})


def tiers_and_options(url: str, options: Mapping[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    """Tiers of a chain URL and constructor options, all checked before the first tier is built."""
    if not isinstance(url, str):
        raise ConfigError(f'a chain is a str such as "{EXAMPLE}", not {type(url).__name__}')
    return _built({**options, "url": url})


def _variables() -> dict[str, str]:
    """The settings of the environment. Any other TIERED_ is refused: misspelt keys would be no encryption."""
    known = ("url", *OPTIONS)
    given = {name.removeprefix("TIERED_").lower(): it for name, it in os.environ.items() if name.startswith("TIERED_")}
    for name in given:
        if name not in (*known, *_LOGIN) and not _OTHERS.fullmatch(name):
            close = difflib.get_close_matches(name, (*known, *_LOGIN), n=1)
            told = (
                f"did you mean TIERED_{close[0].upper()}?" if close else "variables of something else need another name"
            )
            raise ConfigError(f"TIERED_{name.upper()} is no setting; {told}")
    return {name: value for name, value in given.items() if name in known and value}


def _built(settings: dict[str, Any]) -> tuple[list[Tier], dict[str, Any]]:
    known = ("url", "clock", *OPTIONS)
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{meant(name, known)}; known: {', '.join(known)}")
        settings[name] = read(name, value) if isinstance(value, str) else value
    url = settings.pop("url", None)
    if url is None:
        raise ConfigError(NO_CHAIN)
    if settings.get("keys") is not None:
        settings["keys"] = keyring_of(settings["keys"])  # read once
    forms(settings)
    return tiers_from_url(url, shared=settings.get("shared", True)), settings


def _load(source: Source | None) -> Mapping[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return source
    if "://" in str(source):  # it may have a password in it
        raise ConfigError(
            "a configuration is a TOML file or a mapping; a chain of URLs is for from_url, --url or TIERED_URL"
        )
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
    kind = text_of(kind)
    if kind == "file" and not {"directory", "url"} & set(table):
        instead = f", not {', '.join(table)}" if table else ""
        raise ConfigError(f"a tier of type 'file' needs directory = './bot-data'{instead}")
    if kind == "file" and "directory" in table:
        path = quote(text_of(table.pop("directory")))
        base = f"file://{path}" if path.startswith("/") else f"file:{path}"
    else:
        base = text_of(table.pop("url", f"{kind}://"))
    options = urlencode({name: text_of(value) for name, value in table.items()})
    joint = "&" if "?" in base else "?"
    return (base + joint + options if options else base).replace(",", "%2C")
