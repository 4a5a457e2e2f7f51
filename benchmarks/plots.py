"""Results as pictures (PNG): bars a peer, vxnet's own in colour, whiskers from low to high."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.questions.base import Metric
from benchmarks.results import Results
from benchmarks.stats import Summary
from benchmarks.tables import number

__all__ = ["HEADLINE", "bars", "headline"]

HEADLINE = ("tcp-1.gbps", "udp-64.pps", "rtt.p50")
"""The metrics of the picture a visitor sees first."""

OURS = "#d1495b"
KERNEL = "#30638e"
OTHERS = "#9fb3c0"
KERNEL_PEERS = ("kernel", "docker")
INK = "#1d2b33"
DPI = 150


def bars(results: Results, metrics: Sequence[Metric]) -> bytes | None:
    """One picture with a panel a metric, side by side; None when nobody answered.

    A peer has the same line in all panels, and the lines are in the order of the first metric.
    """
    metrics = [metric for metric in metrics if _answers(results, metric)]
    if not metrics:
        return None
    peers = _order(results, metrics)
    size = (2.2 + 2.9 * len(metrics), 0.8 + 0.29 * len(peers))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        _draw(panel, metric, peers, _answers(results, metric))
    titles = {peer.name: peer.title for peer in results.peers}
    panels[0].set_yticks(range(len(peers)), [titles[peer] for peer in peers], size=9, color=INK)
    panels[0].invert_yaxis()
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def headline(results: Results, keys: Sequence[str] = HEADLINE) -> bytes | None:
    """The picture a visitor sees first: these metrics, as far as there are answers."""
    by_key = {metric.key: metric for metric in results.metrics}
    return bars(results, [by_key[key] for key in keys if key in by_key])


def _answers(results: Results, metric: Metric) -> dict[str, Summary]:
    found = {peer.name: results.answer(peer.name, metric.key) for peer in results.peers}
    return {name: answer.value for name, answer in found.items() if answer is not None}


def _order(results: Results, metrics: Sequence[Metric]) -> list[str]:
    """Best first, by the first metric; then those that have an answer to others only."""
    first = _answers(results, metrics[0])
    better = metrics[0].higher_is_better
    ranked = sorted(first, key=lambda name: first[name].median, reverse=better)
    others = {name for metric in metrics for name in _answers(results, metric)} - set(ranked)
    return [*ranked, *sorted(others)]


def _draw(
    panel: Axes, metric: Metric, peers: Sequence[str], answers: Mapping[str, Summary]
) -> None:
    longest = max(value.high for value in answers.values()) or 1.0
    for place, peer in enumerate(peers):
        if (value := answers.get(peer)) is None:
            continue
        panel.barh(place, value.median, color=_colour(peer), height=0.72)
        whisker = [[value.median - value.low], [value.high - value.median]]
        panel.errorbar(
            value.median, place, xerr=whisker, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2
        )
        text = number(value.median, metric)
        panel.text(value.high + longest * 0.03, place, text, va="center", color=INK, size=9)
    panel.set_xlim(0, longest * 1.3)
    better = "more" if metric.higher_is_better else "less"
    panel.set_title(
        f"{metric.topic}\n{metric.label}, {metric.unit} ({better} is better)", size=9, color=INK
    )
    panel.tick_params(axis="x", labelsize=8, colors=INK)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    panel.xaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _colour(peer: str) -> str:
    if peer.startswith("vxnet"):
        return OURS
    return KERNEL if peer in KERNEL_PEERS else OTHERS
