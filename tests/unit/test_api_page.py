"""docs/api.md: it names every operation with all its arguments, every field, word and error, and nothing that is not there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import tiered
from tiered import AsyncTieredBackend, Lookup, TieredBackend, TieredError
from tiered.observability.stats import StoreStats, TierStats
from tiered.results import TierOutcome

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "api.md").read_text()
NAMED = "\n".join(re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE))
"""The first column of its tables."""
CALLS = dict(re.findall(r"`(?:\w+\.)?(\w+)\(([^`]*)\)`", NAMED))


def public(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in vars(kind) if not name.startswith("_")}


def test_every_operation_has_its_row_and_no_other_has() -> None:
    assert {*public(TieredBackend), *public(AsyncTieredBackend)} == set(CALLS) - {"TieredBackend"}


def test_a_row_has_the_arguments_and_their_defaults() -> None:
    for name, method in public(TieredBackend).items():
        parameters = [it.replace(annotation=it.empty) for it in inspect.signature(method).parameters.values()]
        told = inspect.Signature(it for it in parameters if it.name not in ("self", "cls"))
        assert f"({CALLS[name]})" == str(told).replace("'", '"'), name


def test_every_field_word_and_error_is_explained() -> None:
    public_names = [getattr(tiered, name) for name in tiered.__all__]
    errors = [it.__name__ for it in public_names if isinstance(it, type) and issubclass(it, TieredError)]
    for name in (*Lookup._fields, *get_args(TierOutcome), *errors):
        assert f"`{name}`" in NAMED, name


def test_it_is_found_from_the_readme_and_from_asyncio() -> None:
    assert "(docs/api.md)" in (ROOT / "README.md").read_text()
    assert "(api.md)" in (ROOT / "docs" / "asyncio.md").read_text()


def test_dir_names_what_is_public_and_nothing_of_how_it_is_made() -> None:
    """Also what is imported when it is first named."""
    told = dir(tiered)
    assert {*tiered.__all__, "CouchbaseTier"} <= set(told) and "TYPE_CHECKING" not in told and "annotations" not in told


def test_every_number_of_stats_is_explained() -> None:
    page = (DOCS / "metrics.md").read_text().partition("## The same numbers in a shell")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", page))
    for stats in (TierStats().as_dict(), StoreStats().as_dict()):
        assert set(stats) - told == set()
