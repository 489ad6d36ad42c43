"""PromQL for the panels. Every selector has the dashboard's variables in it, and every counter is inside `rate`."""

from __future__ import annotations

MATCHERS = 'job=~"$job", instance=~"$instance"'


def select(metric: str, more: str = "", *, cache: bool = True) -> str:
    """The series of `metric` that the dashboard is about."""
    chosen = [MATCHERS, 'cache=~"$cache"'] if cache else [MATCHERS]
    return f"{metric}{{{', '.join([*chosen, more] if more else chosen)}}}"


def rate(metric: str, more: str = "", by: str = "") -> str:
    """Per second, added up `by` labels."""
    return f"sum{_by(by)} (rate({select(metric, more)}[$__rate_interval]))"


def share(metric: str, part: str, by: str = "") -> str:
    """What part of a counter's growth has the labels `part`."""
    return f"{rate(metric, part, by)} / {rate(metric, by=by)}"


def ratio(part: str, whole: str) -> str:
    return f"{part} / {whole}"


def of_role(metric: str, role: str) -> str:
    """`rate` of what the tiers of one role did, whatever they are called: memory, cache or record."""
    tiers = select("tiered_tier_info", f'role="{role}"')
    return f"sum (rate({select(metric)}[$__rate_interval]) * on (job, instance, cache, tier) group_left () {tiers})"


def smallest(metric: str, more: str = "", by: str = "") -> str:
    """Of a gauge: the process that is worst off."""
    return f"min{_by(by)} ({select(metric, more)})"


def quantile(q: float, histogram: str, more: str = "", by: str = "") -> str:
    """Of a histogram's observations."""
    le = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', more, le)})"


def largest(metric: str, more: str = "", by: str = "") -> str:
    """Of a gauge on which every process has its own sight."""
    return f"max{_by(by)} ({select(metric, more)})"


def total(metric: str, more: str = "", by: str = "") -> str:
    """Of a gauge of what each process has for itself."""
    return f"sum{_by(by)} ({select(metric, more)})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
