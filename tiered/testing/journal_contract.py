"""The contract of a store of record that has a journal, as tests that anyone can run on theirs (see contract.py)."""

from __future__ import annotations

from typing import Any

from tiered.entry import namespace_seed, tombstone
from tiered.testing.contract import NOW, RecordContract, commit, refused, value
from tiered.tiers.base import Absence, Mark, Write

FIRST, SECOND = "run 1", "run 2"


class JournalContract(RecordContract):
    """What a store of record with a journal must do besides."""

    journal_too = True
    versions_of_absences = True
    """False for a record that cannot tell since when it has nothing: then `Absence.version` is 0."""

    def test_a_store_has_an_identity(self, tier: Any) -> None:
        assert tier.journal.identity and tier.journal.identity == tier.journal.identity

    def test_marks_are_bound_to_applied_writes_and_to_their_tier(self, tier: Any) -> None:
        grave = tombstone(namespace_seed("n"), "c", NOW)
        writes = [Write("a", value("a")), Write("b", value("b"), 99), Write("c", grave)]
        done = tier.commit("n", writes, marks=["one", "two"], now=NOW)
        for name in ("one", "two"):
            expected = [
                Mark(name, "n", key, it.version, done.generation)
                for key, it in (("a", done.written[0]), ("c", done.written[2]))
            ]
            assert pending(tier, name) == expected
        confirm(tier, *tier.journal.pending("one", limit=10))
        assert pending(tier, "one") == [] and len(tier.journal.pending("two", limit=10)) == 2

    def test_marks_are_cleared_by_version_and_generation(self, tier: Any) -> None:
        old = commit(tier, Write("k", value("k", 1)), marks=["cache"])
        new = commit(tier, Write("k", value("k", 2)), marks=["cache"])
        mark = Mark("cache", "n", "k", new.version, generation := tier.generation("n"))
        assert pending(tier) == [mark]
        for wrong in (
            mark._replace(version=old.version),
            mark._replace(generation=generation + 1),
            mark._replace(tier="other"),
            mark._replace(namespace="m"),
        ):
            confirm(tier, wrong)
            assert pending(tier) == [mark]
        confirm(tier, mark)
        assert pending(tier) == []

    def test_a_mark_is_not_cleared_by_a_look_at_the_one_before(self, tier: Any) -> None:
        commit(tier, Write("k", value("k", 1)), marks=["cache"])
        seen = tier.journal.pending("cache", limit=10)
        new = commit(tier, Write("k", value("k", 2)), marks=["cache"])
        confirm(tier, *seen)
        assert [it.version for it in pending(tier)] == [new.version]
        confirm(tier, *tier.journal.pending("cache", limit=10))
        assert pending(tier) == []

    def test_nothing_is_announced_when_nothing_is_under_way(self, tier: Any) -> None:
        commit(tier, Write("k", value("k")), marks=["cache"])
        commit(tier, Write("k", value("k"), 99), marks=["cache"])
        tier.journal.flush()
        assert list(tier.journal.intents()) == []

    def test_confirmations_reach_the_journal_with_the_next_commit(self, tier: Any) -> None:
        written = commit(tier, Write("k", value("k")), marks=["cache"])
        tier.journal.confirm([Mark("cache", "n", "k", written.version, tier.generation("n"))])
        commit(tier, Write("other", value("other")))
        assert tier.journal.pending("cache", limit=10) == []

    def test_a_cleared_namespace_leaves_no_marks(self, tier: Any) -> None:
        commit(tier, Write("k", value("k")), marks=["cache"])
        other = tier.commit("m", [Write("k", value("k", namespace="m"))], marks=["cache"], now=NOW)
        generation = tier.clear("n")
        assert [(it.namespace, it.version) for it in pending(tier)] == [("m", other.written[0].version)]
        new = commit(tier, Write("k", value("k", 2)), marks=["cache"])
        assert pending(tier)[-1] == Mark("cache", "n", "k", new.version, generation)

    def test_marks_page_by_version_over_namespaces(self, tier: Any) -> None:
        for namespace in ("n", "m"):
            writes = [Write(key, value(key, namespace=namespace)) for key in "cab"]
            tier.commit(namespace, writes, marks=["cache"], now=NOW)
        commit(tier, Write("c", value("c")), marks=["cache"])  # written again: its mark is now the last
        found: list[Mark] = []
        while page := tier.journal.pending("cache", limit=2, above=found[-1].at if found else 0):
            assert len(page) <= 2
            found += page
        assert [(it.namespace, it.key) for it in found] == [
            *[("n", key) for key in "ab"],
            *[("m", key) for key in "cab"],
            ("n", "c"),
        ]
        assert [it.at for it in found] == sorted({it.at for it in found})

    def test_what_is_still_pending_is_told_by_tier_and_namespace(self, tier: Any) -> None:
        tier.commit("n", [Write(key, value(key)) for key in "ab"], marks=["cache"], now=NOW)
        commit(tier, Write("c", value("c")), marks=["other"])
        asked = [("n", "a"), ("n", "b"), ("n", "c"), ("m", "a"), ("n", "never written")]
        assert tier.journal.still_pending("cache", asked) == {("n", "a"), ("n", "b")}
        assert tier.journal.still_pending("other", asked) == {("n", "c")}
        confirm(tier, *[it for it in tier.journal.pending("cache", limit=10) if it.key == "a"])
        assert tier.journal.still_pending("cache", asked) == {("n", "b")}
        assert tier.journal.still_pending("cache", []) == set()

    def test_an_absence_is_as_new_as_the_newest_version(self, tier: Any) -> None:
        """PROTOCOL R16: it is put as a tombstone of that version, which must win over all that was there before."""
        old = commit(tier, Write("k", value("k")), marks=["cache"])
        confirm(tier, Mark("cache", "n", "k", old.version, tier.generation("n")))
        grave = commit(tier, Write("k", tombstone(namespace_seed("n"), "k", NOW)), marks=["cache"])
        kept = commit(tier, Write("kept", value("kept")))
        generation, found = tier.journal.absences("n", ["k", "kept", "never"])
        assert generation == tier.generation("n")
        assert found[1] == kept.frame
        elsewhere = tier.journal.absences("not there yet", ["k"])[1][0]
        assert isinstance(found[2], Absence) and isinstance(elsewhere, Absence)
        if isinstance(found[0], Absence):
            assert found[0].pending  # R17
        else:
            assert found[0] == grave.frame
        assert not found[2].pending and not elsewhere.pending
        later = commit(tier, Write("k", value("k")))
        absent = [it.version for it in (*found, elsewhere) if isinstance(it, Absence)]
        if self.versions_of_absences:
            assert kept.version > grave.version and min(absent) >= kept.version and max(absent) < later.version
        else:
            assert set(absent) == {0}

    def test_adopting_other_data_gives_every_namespace_a_new_generation(self, tier: Any) -> None:
        journal, frame = tier.journal, commit(tier, Write("k", value("k"))).frame
        assert journal.adopted("cache") is None
        generations = [tier.generation("n"), tier.generation("not there yet")]
        for run, changes in ((FIRST, True), (FIRST, False), (SECOND, True), (FIRST, True)):
            assert journal.adopt("cache", run) is changes
            assert journal.adopted("cache") == run and journal.adopted("other") is None
            now = [tier.generation("n"), tier.generation("not there yet")]
            assert [new > old for old, new in zip(generations, now, strict=True)] == [changes, changes]
            generations = now
        assert tier.read("n", "k") == (generations[0], frame)

    def test_every_commit_leaves_marks_for_adopted_tiers(self, tier: Any) -> None:
        commit(tier, Write("before", value("before")))
        tier.journal.adopt("cache", FIRST)
        tier.journal.adopt("other", FIRST)
        commit(tier, Write("k", value("k")))
        commit(tier, Write("k2", value("k2")), marks=["cache"])
        commit(tier, Write("refused", value("refused"), 99))
        for name in ("cache", "other"):
            assert [it.key for it in tier.journal.pending(name, limit=10)] == ["k", "k2"]

    def test_one_replays_to_a_tier_at_a_time(self, tier: Any) -> None:
        with tier.journal.replaying("cache") as first, tier.journal.replaying("cache") as second:
            assert first and not second
            with tier.journal.replaying("other") as elsewhere:
                assert elsewhere
        with tier.journal.replaying("cache") as again:
            assert again

    def test_the_journal_of_a_closed_record_says_so(self, tier: Any) -> None:
        tier.close()
        refused(lambda: tier.journal.pending("cache", limit=1))
        refused(tier.journal.still_pending, "cache", [("n", "k")])
        refused(tier.journal.absences, "n", ["k"])
        refused(tier.journal.adopted, "cache")
        refused(tier.journal.adopt, "cache", FIRST)


def pending(tier: Any, name: str = "cache") -> list[Any]:
    """The marks without their places."""
    return [mark._replace(place=0) for mark in tier.journal.pending(name, limit=100)]


def confirm(tier: Any, *marks: Mark) -> None:
    """Confirm, so that it shows at once."""
    tier.journal.confirm(marks)
    tier.journal.flush()
