"""The journal of a file tier: marks, adoption, its limit, and the one who replays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, SEED, connection, open_tier, put, value
from tiered.entry import tombstone
from tiered.tiers import file_session
from tiered.tiers.base import Absence, Mark, Write
from tiered.tiers.file import FileTier


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


def marked(tier: FileTier, *keys: str, tiers: tuple[str, ...] = ("r",), namespace: str = "n") -> list[int]:
    done = tier.commit(namespace, [Write(key, value(key)) for key in keys], marks=tiers, now=NOW)
    return [it.version for it in done.written]


def pending(tier: FileTier, name: str = "r", above: int = 0) -> list[str]:
    return [mark.key for mark in tier.journal.pending(name, limit=100_000, above=above)]


# Marks


def test_marks_are_stored_with_the_write_and_confirmed_by_version(tier: FileTier) -> None:
    tier.commit("n", [Write("a", value("a")), Write("b", value("b"), expect=7)], marks=["r"], now=NOW)
    (old,) = tier.journal.pending("r", limit=10)
    assert (old.key, old.namespace, old.generation) == ("a", "n", tier.generation("n"))
    tier.commit("n", [Write("a", value("a"))], marks=["r"], now=NOW)
    tier.journal.confirm([old])
    tier.journal.flush()
    (new,) = tier.journal.pending("r", limit=10)
    assert new.version > old.version
    tier.journal.confirm([new])
    put(tier, "other")  # the next commit carries confirmations along
    assert tier.journal.pending("r", limit=10) == []


def test_what_is_confirmed_does_not_count_as_missed(tier: FileTier) -> None:
    tier.journal.adopt("r", "run 1")
    marked(tier, "a", "b", "c")
    tier.journal.confirm(tier.journal.pending("r", limit=10))
    tier.journal.limit(2)
    assert tier.journal.adopted("r") == "run 1"


def test_pending_pages_in_the_order_of_commits_over_all_namespaces(tier: FileTier) -> None:
    versions = [
        *marked(tier, "c", "a", tiers=("r", "s")),
        *marked(tier, "b", namespace="m"),
        *marked(tier, "a"),  # its mark moves to the end
    ]
    seen: list[Mark] = []
    while page := tier.journal.pending("r", limit=2, above=seen[-1].version if seen else 0):
        seen += page
    assert [(it.namespace, it.key) for it in seen] == [("n", "c"), ("m", "b"), ("n", "a")]
    assert [it.version for it in seen] == [versions[0], versions[2], versions[3]]


def test_a_mark_that_is_written_again_is_found_above_what_was_seen(tier: FileTier) -> None:
    """What a look that goes by version rests on."""
    (version,) = marked(tier, "k")
    assert pending(tier, above=version) == []
    marked(tier, "k")
    assert pending(tier, above=version) == ["k"]


def test_still_pending_tells_tier_from_tier_and_namespace_from_namespace(tier: FileTier) -> None:
    marked(tier, "a", "b")
    marked(tier, "c", tiers=("s",))
    asked = [("n", "a"), ("n", "c"), ("m", "a"), ("n", "never written")]
    assert tier.journal.still_pending("r", asked) == {("n", "a")}
    assert tier.journal.still_pending("s", asked) == {("n", "c")}
    assert tier.journal.still_pending("r", []) == set()


# Absences


def test_an_absence_has_the_highest_version_given_and_says_whether_it_is_pending(tier: FileTier) -> None:
    marked(tier, "k", "left")
    tier.journal.confirm(tier.journal.pending("r", limit=10))
    grave = tier.commit("n", [Write("k", tombstone(SEED, "k", NOW))], marks=["r"], now=NOW).written[0]
    generation, held = tier.journal.absences("n", ["k", "left", "never"])
    assert generation == tier.generation("n")
    assert held[0] == Absence(grave.version, True)
    assert isinstance(held[1], bytes) and held[1] == tier.read("n", "left")[1]
    assert held[2] == Absence(grave.version, False)
    later = put(tier, "another")
    assert tier.journal.absences("n", ["never"])[1] == [Absence(later, False)]
    assert tier.journal.absences("not there yet", ["k"])[1] == [Absence(later, False)]


# Adoption


def test_adopting_another_run_or_the_first_gives_every_namespace_a_new_generation(tier: FileTier) -> None:
    put(tier, "k")
    generations = [tier.generation("n"), tier.generation("not there yet")]
    assert tier.journal.adopted("r") is None
    for run, changes in (("run 1", True), ("run 1", False), ("run 2", True), ("run 1", True)):
        assert tier.journal.adopt("r", run) is changes
        assert tier.journal.adopted("r") == run
        now = [tier.generation("n"), tier.generation("not there yet")]
        assert all((new > old) is changes for old, new in zip(generations, now, strict=True))
        generations = now
    assert tier.read("n", "k")[1] is not None


def test_adoption_survives_reopening(tmp_path: Path) -> None:
    for changes in (True, False):
        with closing(open_tier(tmp_path)) as tier:
            assert tier.journal.adopt("r", "run 1") is changes


def test_a_commit_without_marks_leaves_them_for_every_tier_that_was_adopted(tmp_path: Path) -> None:
    """By anyone: also by a process whose own chain has no such tier, before and after it met the adoption."""
    with closing(open_tier(tmp_path)) as one, closing(open_tier(tmp_path)) as other:
        put(other, "before")
        one.journal.adopt("r", "run 1")
        put(other, "k")
        put(one, "own")
        marked(other, "both", tiers=("r", "s"))
        one.journal.adopt("s", "run 2")
        put(other, "two")
        assert pending(one, "r") == ["k", "own", "both", "two"] and pending(one, "s") == ["both", "two"]


# The limit


def test_a_journal_past_its_limit_gives_marks_and_adoption_up_under_a_new_generation(tier: FileTier) -> None:
    tier.journal.adopt("r", "run 1")
    tier.journal.adopt("s", "run 2")
    for number in range(10):
        put(tier, f"k{number}")
    tier.journal.confirm(tier.journal.pending("s", limit=5))
    tier.journal.flush()
    before = tier.generation("n")
    tier.journal.limit(10)
    assert tier.generation("n") == before and len(pending(tier, "r")) == 10
    put(tier, "one too many")
    tier.journal.limit(10)
    assert tier.generation("n") > before
    assert pending(tier, "r") == [] and tier.journal.adopted("r") is None
    assert len(pending(tier, "s")) == 6 and tier.journal.adopted("s") == "run 2"
    put(tier, "afterwards")
    assert pending(tier, "r") == [] and "afterwards" in pending(tier, "s")


def test_max_pending_is_what_tidying_enforces(tmp_path: Path) -> None:
    with closing(FileTier(tmp_path, max_pending=3)) as tier:
        marked(tier, *"abcd")
        tier._tidy()
        assert pending(tier) == []


# Who replays


def test_one_holder_at_a_time_replays_to_a_tier(tmp_path: Path) -> None:
    with closing(open_tier(tmp_path)) as one, closing(open_tier(tmp_path)) as other:
        with one.journal.replaying("r") as first, other.journal.replaying("r") as second:
            assert (first, second) == (True, False)
            with other.journal.replaying("a tier/with any name: \N{SNOWMAN}") as unrelated:
                assert unrelated
        with other.journal.replaying("r") as free:
            assert free


HOLD = """
import sys
from tiered import FileTier
with FileTier(sys.argv[1]).journal.replaying("r") as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def test_who_is_killed_replays_no_more(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        with closing(open_tier(tmp_path)) as tier:
            with tier.journal.replaying("r") as mine:
                assert not mine
            holder.kill()
            holder.wait()
            with tier.journal.replaying("r") as mine:
                assert mine


# Cleared


@pytest.mark.parametrize(("most", "left"), [(1, "bcd"), (3, "d"), (4, ""), (5, "")])
def test_a_clear_takes_so_many_marks_along_and_leaves_the_rest(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch, most: int, left: str
) -> None:
    monkeypatch.setattr(file_session, "CLEARED_MARKS", most)
    marked(tier, *"dbca")
    marked(tier, "other", namespace="m")
    tier.clear("n")
    assert sorted(pending(tier)) == [*left, "other"]


# Rolled back


def test_an_adoption_that_was_rolled_back_leaves_no_marks(tier: FileTier) -> None:
    put(tier, "k")
    with pytest.raises(ZeroDivisionError):
        tier._writer.write(lambda session: (session.adopt("r", "run 1"), 1 / 0))
    assert tier.journal.adopted("r") is None
    put(tier, "k")
    assert connection(tier).execute("SELECT count(*) FROM pending").fetchone() == (0,)
