"""Results as pictures (PNG): bars a peer, vxnet's own in colour, whiskers from low to high."""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.questions.base import Metric
from benchmarks.results import Answer, Results
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
    """One picture with a panel a metric, side by side; None when nobody answered."""
    answered = [(metric, found) for metric in metrics if (found := _answers(results, metric))]
    if not answered:
        return None
    height = 0.9 + 0.34 * max(len(found) for _, found in answered)
    figure = Figure(figsize=(4.6 * len(answered), height), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(answered), squeeze=False)[0]
    for panel, (metric, found) in zip(panels, answered, strict=True):
        _draw(panel, results, metric, found)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def headline(results: Results) -> bytes | None:
    """The picture of the README."""
    by_key = {metric.key: metric for metric in results.metrics}
    return bars(results, [by_key[key] for key in HEADLINE if key in by_key])


def _answers(results: Results, metric: Metric) -> list[Answer]:
    """Best first."""
    found = [a for p in results.peers if (a := results.answer(p.name, metric.key)) is not None]
    return sorted(found, key=lambda a: a.value.median, reverse=metric.higher_is_better)


def _draw(panel: Axes, results: Results, metric: Metric, answers: Sequence[Answer]) -> None:
    titles = {peer.name: peer.title for peer in results.peers}
    medians = [answer.value.median for answer in answers]
    whiskers = [
        [answer.value.median - answer.value.low for answer in answers],
        [answer.value.high - answer.value.median for answer in answers],
    ]
    places = range(len(answers))
    panel.barh(places, medians, color=[_colour(a.peer) for a in answers], height=0.72)
    panel.errorbar(
        medians, places, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2
    )
    longest = max(answer.value.high for answer in answers) or 1.0
    for place, answer in zip(places, answers, strict=True):
        text = number(answer.value.median, metric)
        panel.text(answer.value.high + longest * 0.02, place, text, va="center", color=INK, size=8)
    panel.set_yticks(places, [titles[answer.peer] for answer in answers], size=8, color=INK)
    panel.invert_yaxis()
    panel.set_xlim(0, longest * 1.2)
    better = "more" if metric.higher_is_better else "less"
    panel.set_title(
        f"{metric.topic}: {metric.label}, {metric.unit} ({better} is better)", size=9, color=INK
    )
    panel.tick_params(axis="x", labelsize=7, colors=INK)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _colour(peer: str) -> str:
    if peer.startswith("vxnet"):
        return OURS
    return KERNEL if peer in KERNEL_PEERS else OTHERS
