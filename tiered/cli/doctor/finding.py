"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    ADVICE = "advice"
    """It works; it would be better otherwise."""
    PROBLEM = "problem"
    UNREACHABLE = "unreachable"
    UNKNOWN = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is a name for scripts, such as redis.eviction; `fix` says what to do."""

    check: str
    level: Level
    text: str
    fix: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def advice(check: str, text: str, fix: str) -> Finding:
    return Finding(check, Level.ADVICE, text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    return Finding(check, Level.PROBLEM, text, fix)


def unknown(check: str, text: str, fix: str = "") -> Finding:
    return Finding(check, Level.UNKNOWN, text, fix)
