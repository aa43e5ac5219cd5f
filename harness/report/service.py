"""The figure of service time against batch size: what batches took, the law fitted to them, and what an item saves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.analyse.model import Analysis
from harness.decide.service_curve import ServiceCurve, service_curve
from harness.report import canvas
from harness.report.canvas import INK, QUIET, Chart, Ink
from harness.report.rows import Drawings
from harness.report.words import clean, figure, milliseconds

ACROSS = 2
WIDE = 32           # a larger batch than this makes the axis logarithmic
WORTH = 1.1         # an item that gets cheaper by less is said not to
POINTS = 80


def curves(analysis: Analysis, drawn: Drawings) -> dict[str, dict[str, ServiceCurve]]:
    """By workload and setup, over all its scenarios and loads: the curves of those that tell of batches of several
    sizes. Runs whose figures do not count are left out where others do; a closed loop's batches are batches too."""
    found: dict[str, dict[str, ServiceCurve]] = {}
    for workload in dict.fromkeys(cell.workload for cell in analysis.cells):
        for setup in sorted({cell.setup for cell in analysis.cells if cell.workload == workload}):
            cells = [cell for cell in analysis.cells if (cell.workload, cell.setup) == (workload, setup)]
            told = [run for cell in cells for run in cell.runs]
            chosen = [run.run_id for run in told if run.valid] or [run.run_id for run in told]
            runs = [name for name in chosen if name in drawn]
            curve = None
            if runs and any(size > 1 for cell in cells for size in cell.batches):
                curve = service_curve([drawn[name].batched for name in runs])
            if curve is not None:
                found.setdefault(workload, {})[setup] = curve
    return found


@canvas.styled
def service(workload: str, told: Mapping[str, ServiceCurve], ink: Mapping[str, Ink]) -> Chart:
    """Milliseconds of a batch against its size, one small panel per setup."""
    rows = -(-len(told) // ACROSS)
    fig, panels = canvas.paper(96 + 190 * rows, rows, ACROSS, top=66, left=58, right=12, gap=0.5, between=0.18)
    canvas.title(fig, f"Service time against batch size: {workload}")
    for axes, (setup, curve) in zip(panels, told.items(), strict=False):
        _panel(axes, setup, curve, ink[setup].colour)
    for axes in panels[len(told):]:
        axes.set_visible(False)
    return Chart(f"Service time: {workload}", canvas.svg(fig, f"Service time against batch size, {workload}"),
                 caption(told))


def _panel(axes: Axes, setup: str, curve: ServiceCurve, colour: str) -> None:
    largest = float(curve.size[-1])
    n = np.linspace(1, largest, POINTS)
    low, high = curve.band_ms(n)
    axes.fill_between(n, low, high, color=QUIET, alpha=0.18, linewidth=0)
    axes.plot(n, curve.at_ms(n), color=QUIET, linewidth=1.4)
    axes.vlines(curve.size, curve.low_ms, curve.high_ms, color=colour, alpha=0.45, linewidth=2)
    axes.plot(curve.size, curve.mean_ms, "o", color=colour, markersize=5, markeredgecolor="white")
    axes.margins(x=0.06)
    if largest > WIDE:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(2**i) for i in range(16) if 2**i <= largest]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(ylim=(0, 1.1 * float(max(curve.high_ms.max(), high.max()))), xlabel="batch size", ylabel="ms of a batch")
    axes.set_title(clean(setup), color=INK, weight="bold", fontsize=12.5)


def caption(told: Mapping[str, ServiceCurve]) -> str:
    """What the laws say of each setup, and what the marks mean."""
    said = []
    for setup, curve in told.items():
        alone, largest = curve.at_ms(np.ones(1))[0], curve.size[-1]
        gain = curve.gain()
        saves = f"an item gets {figure(gain)} times cheaper" if gain >= WORTH else "an item gets hardly cheaper"
        said.append(f"{clean(setup)}: {milliseconds(alone)} alone, {milliseconds(curve.at_ms(curve.size[-1:])[0])} for "
                    f"{largest:g}, {saves}.")
    return (" ".join(said) + " Points are the mean of the batches of a size, bars the 10th to the 90th percentile; the "
            "line is a + b·n fitted to them, its band what single runs say.")
