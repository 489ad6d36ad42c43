"""Spans: of what tiers below memory are asked, without keys and values; and nothing at all when they are off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.prometheus import ROOT
from tiered import ConfigError, FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.observability.tracing import traced
from tiered.tiers.base import Claimable, Record, Telling

SECRET = "hunter2"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


def test_each_call_of_a_tier_below_memory_is_a_span(
    tmp_path: Path, redis_url: str, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    tiers = [MemoryTier(), RedisTier(redis_url), FileTier(tmp_path)]
    with TieredBackend([traced(tier, provider) for tier in tiers]) as store:
        store.set_many({f"{SECRET}:{n}": SECRET for n in range(3)})
        store.get(f"{SECRET}:0")  # from memory
        store.get_many(["absent", "another"])
    made = {(it.name, (it.attributes or {}).get("tiered.keys")) for it in spans.get_finished_spans()}
    assert {("file commit", 3), ("redis put_many", 3), ("redis get_many", 2), ("file read_many", 2)} <= made
    assert not any(name.startswith("memory") or name == "redis get" for name, _ in made)
    assert all(it.kind is SpanKind.CLIENT for it in spans.get_finished_spans())
    assert SECRET not in str([it.to_json() for it in spans.get_finished_spans()])


def test_a_failure_is_told_by_its_kind_alone(spans: InMemorySpanExporter, provider: TracerProvider) -> None:
    tier = traced(RedisTier(f"redis://:{SECRET}@127.0.0.1:1/0"), provider)
    with pytest.raises(Exception, match="refused"):
        tier.get("n:1", SECRET)
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR and span.attributes is not None
    assert span.attributes["error.type"] == "connection" and SECRET not in span.to_json() and not span.events
    tier.close()


def test_a_traced_tier_is_still_what_it_was(tmp_path: Path, provider: TracerProvider) -> None:
    redis, file = RedisTier("redis://127.0.0.1:1/0"), FileTier(tmp_path)
    assert traced(redis, provider) is redis and isinstance(redis, Telling) and isinstance(redis, Claimable)
    assert traced(traced(file, provider), provider) is file and isinstance(file, Record)
    redis.close()
    file.close()


def test_a_call_is_one_span_however_often_its_tier_is_traced(
    tmp_path: Path, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    tier = traced(traced(FileTier(tmp_path), provider), provider)
    tier.read("n", "k")
    assert [it.name for it in spans.get_finished_spans()] == ["file read"]
    tier.close()


def test_it_is_an_option_of_the_backend_and_of_its_settings(tmp_path: Path) -> None:
    with TieredBackend.from_url(f"memory://,file:{tmp_path}/a", trace="yes") as store:
        assert "read" in vars(store._core.chain.record)
    with TieredBackend.from_url(f"memory://,file:{tmp_path}/b") as store:
        assert "read" not in vars(store._core.chain.record)


def test_off_it_is_not_even_loaded() -> None:
    program = (
        "import sys, tiered; tiered.TieredBackend([tiered.MemoryTier()]).close(); print('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[otel\]'"):
        TieredBackend([MemoryTier()], trace=True)
