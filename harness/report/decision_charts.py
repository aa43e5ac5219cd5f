"""The figures of a decision: cost against p99, replicas over the day, cost over load, what would change the choice."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from harness.decide.bill import HOURS_PER_MONTH, Bill, monthly_usd
from harness.decide.bill_even import BreakEven
from harness.decide.choice import DECIDED, Choice
from harness.decide.choice_grid import Case, counted, front, held, p99_words
from harness.decide.cost import SECONDS_PER_HOUR
from harness.decide.demand import Curve
from harness.report import canvas
from harness.report.canvas import FAINT, INK, QUIET, Chart, Ink
from harness.report.words import clean, figure, listed, percent

SPAN, POINTS = 30.0, 61
SECONDS_PER_MONTH = HOURS_PER_MONTH * SECONDS_PER_HOUR


@canvas.styled
def pareto(bills: Sequence[Bill], ink: Mapping[str, Ink]) -> Chart:
    """Each setup's month at the demand against its measured p99; the line joins those that nothing beats in both."""
    shown = [each for each in bills if math.isfinite(each.offer.p99_ms.value)]
    fig, (axes,) = canvas.paper(380, right=150)
    canvas.title(fig, "Cost against the slowest percent")
    for each in shown:
        own, x, y = ink[each.offer.setup], each.monthly_usd, each.offer.p99_ms
        axes.errorbar([x.value], [y.value], xerr=_arms(x.value, x.low, x.high), yerr=_arms(y.value, y.low, y.high),
                      color=own.colour, marker=own.mark, markersize=9, elinewidth=1.2, capsize=3, alpha=0.9)
        axes.annotate(clean(each.offer.setup), (x.value, y.value), xytext=(9, 6), textcoords="offset points", color=INK)
    best = front(shown)
    axes.step([each.monthly_usd.value for each in best], [each.offer.p99_ms.value for each in best], where="post",
              color=QUIET, linewidth=1, linestyle="--", zorder=1)
    axes.set(xlabel="$ a month at the demand", ylabel="p99 (ms)")
    axes.set_ylim(bottom=0)
    names = [each.offer.setup for each in best]
    beaten = f"{listed(names)} {'is' if len(names) == 1 else 'are'} beaten by none in both cost and p99. "
    said = f"{beaten if names else ''}{p99_words(bills)} Bars are 95 % intervals."
    return Chart("Cost against p99", canvas.svg(fig, "Cost a month against p99 of each setup"), said)


@canvas.styled
def hourly(demand: Curve, bills: Sequence[Bill], ink: Mapping[str, Ink]) -> Chart:
    """The demand, and below it the replicas that each setup keeps for it, hour by hour."""
    fig, (above, below) = canvas.paper(440, 2, sharex=True, right=150, gap=0.16)
    canvas.title(fig, f"Replicas hour by hour: {demand.name}")
    starts = np.arange(0, len(demand.rate), 60)
    hours = np.add.reduceat(demand.rate, starts) / np.diff(np.append(starts, len(demand.rate)))
    above.fill_between(np.arange(len(hours) + 1), np.append(hours, hours[-1]), color=FAINT, step="post")
    above.set(ylabel="mean requests/s", ylim=(0, demand.peak * 1.1))
    for each in bills:
        own, counts = ink[each.offer.setup], [*each.hourly_replicas, each.hourly_replicas[-1]]
        below.step(np.arange(len(counts)), counts, where="post", color=own.colour, linestyle=own.dash)
    _names(below, [(each.offer.setup, each.hourly_replicas[-1]) for each in bills], ink)
    below.set(xlabel="hour", ylabel="paid replicas", xlim=(0, len(hours)))
    below.set_ylim(bottom=0)
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    first = bills[0]
    said = (f"{first.offer.setup} keeps {min(first.hourly_replicas):g} to {max(first.hourly_replicas):g} replicas and "
            f"leaves {percent(first.idle_share)} of what is paid idle; {first.broken_minutes:.0f} minutes a month "
            "break the promise before replicas serve.")
    return Chart("Replicas hour by hour", canvas.svg(fig, "Demand and replicas hour by hour"), said)


@canvas.styled
def over_load(demand: Curve, bills: Sequence[Bill], evens: Sequence[BreakEven], ink: Mapping[str, Ink]) -> Chart:
    """Cost per million requests as the same shape of demand grows, beside price ÷ throughput at peak (dotted)."""
    fig, (axes,) = canvas.paper(400, right=150)
    canvas.title(fig, "Cost per million requests as the demand grows")
    loads = demand.mean * np.geomspace(1 / SPAN, SPAN, POINTS)
    ends = []
    for each in bills:
        own, offer = ink[each.offer.setup], each.offer
        low, middle, high = (_per_million(each, rate, demand, loads) for rate in
                             (offer.rate.high, offer.rate.value, offer.rate.low))
        axes.fill_between(loads, low, high, color=own.colour, alpha=0.14, linewidth=0)
        axes.plot(loads, middle, color=own.colour, linestyle=own.dash)
        axes.axhline(each.peak_per_million_usd, color=own.colour, linewidth=1, linestyle=":")
        ends.append((offer.setup, float(middle[-1])))
    axes.axvline(demand.mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("the demand", (demand.mean, 1), xycoords=("data", "axes fraction"), xytext=(5, -4),
                  textcoords="offset points", va="top", color=INK)
    axes.set(xscale="log", yscale="log", xlabel="mean requests/s (log)", ylabel="$ per million requests (log)",
             xlim=(loads[0], loads[-1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    _names(axes, ends, ink, log=True)
    told = [f"from {figure(even.load.value)}/s on {even.cheaper} is cheaper than {even.dearer}" for even in evens
            if 0 < even.load.value < math.inf]
    said = (f"Mean load: {'; '.join(told)}." if told else "No load was found from which another setup becomes the "
            "cheaper one.") + " Dotted: price divided by throughput at peak, without idle hours and spare replicas."
    return Chart("Break-even", canvas.svg(fig, "Cost per million requests over load"), said)


@canvas.styled
def grid(cases: Sequence[Case], choice: Choice, ink: Mapping[str, Ink]) -> Chart:
    """Which setup would be chosen at other prices, promises and demands."""
    promises = sorted({case.promise for case in cases})
    fig, panels = canvas.paper(330, 1, len(promises), sharey=True, top=84, bottom=58, between=0.08)
    canvas.title(fig, f"What would change the choice of {choice.named[0]}")
    prices, demands = sorted({case.price for case in cases}), sorted({case.demand for case in cases})
    for axes, promise in zip(panels, promises, strict=True):
        axes.grid(visible=False)
        for case in (each for each in cases if each.promise == promise):
            _cell(axes, case, demands.index(case.demand), prices.index(case.price), ink)
        axes.set(xlim=(0, len(demands)), ylim=(0, len(prices)))
        axes.set_title(f"promise × {promise:g}", pad=6)
        axes.set_xticks(np.arange(len(demands)) + 0.5, [f"× {each:g}" for each in demands])
        axes.set_yticks(np.arange(len(prices)) + 0.5, [f"× {each:g}" for each in prices])
        axes.set_xlabel("demand")
    panels[0].set_ylabel(f"price of {clean(choice.named[0])}")
    stays = f"{choice.named[0]} stays chosen in {percent(held(cases, choice))} of the {counted(cases)}."
    said = (f"{stays if choice.kind != 'open' else 'Nothing is decided yet: the names are the favourites so far.'} "
            "'+' stands for equals, '?' for no decision yet, 'none' where no setup keeps the promise.")
    return Chart("Stability", canvas.svg(fig, "The choice at other prices, promises and demands"), said)


def _cell(axes: Axes, case: Case, column: int, row: int, ink: Mapping[str, Ink]) -> None:
    name = case.named[0] if case.named else ""
    colour = ink[name].colour if name in ink and case.known else FAINT
    sure = case.known and case.kind in DECIDED
    axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, facecolor=colour, alpha=0.35 if sure else 0.12,
                             linewidth=0))
    words = {"one": clean(name), "tie": f"{clean(name)} +", "open": f"{clean(name)} ?", "none": "none"}[case.kind]
    shown = f"{words}\npredicted" if case.predicted else words
    axes.text(column + 0.5, row + 0.5, shown if case.known else "not searched", ha="center", va="center", fontsize=8.5,
              color=INK)


def _arms(value: float, low: float, high: float) -> list[list[float]]:
    return [[max(reach, 0.0) if math.isfinite(reach) else 0.0] for reach in (value - low, high - value)]


def _per_million(made: Bill, rate: float, demand: Curve, loads: np.ndarray[tuple[int], np.dtype[np.float64]],
                 ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    offer = made.offer
    at = (rate if math.isfinite(rate) else offer.rate.value) * offer.speed
    return np.array([monthly_usd(demand.rate * (load / demand.mean), at, offer.hourly_usd, made.fleet)
                     / (load * SECONDS_PER_MONTH) * 1e6 for load in loads])


def _names(axes: Axes, ends: Sequence[tuple[str, float]], ink: Mapping[str, Ink], *, log: bool = False) -> None:
    """Names at the lines' right ends, moved apart where they would lie on each other."""
    low, high = axes.get_ylim()

    def place(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)

    taken = -1.0
    for name, value in sorted(ends, key=lambda end: end[1]):
        taken = max(place(value), taken + 0.09)
        axes.annotate(clean(name), (1, taken), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points",
                      va="center", color=ink[name].colour, weight="bold")

