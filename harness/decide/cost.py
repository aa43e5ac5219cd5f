"""What a million good answers cost at the load that was measured, with everything that was assumed.

Analysis knows no prices: it leaves `Cell.cost` empty and `with_costs` fills it in.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from harness.analyse.gpu_figures import with_price
from harness.analyse.model import Analysis, Cell, Cost
from harness.catalog.device import arm, setup_of
from harness.decide.prices import Instance, PriceList, instance_for, instance_with_gpu, old_words

SECONDS_PER_HOUR = 3600


def with_costs(analysis: Analysis, prices: PriceList, given: Mapping[str, float] | None = None,
               usd_per_kwh: float | None = None, today: date | None = None) -> Analysis:
    """The analysis with the cost of every cell that has one, and of its GPU's energy at `usd_per_kwh`, else at what
    the list says.

    Each setup costs what `given` (USD an hour) says of its arm or, where that is on the CPU or never ran there, of the
    setup, else what the instance of the list nearest to the measured machine
    costs: for what ran on a GPU one with such a GPU, and no cost where the list has none. Prices that are old on
    the day `today` say so. Raises TailraceError when the list has no instance without a GPU.
    """
    listed = prices.electricity.usd_per_kwh if prices.electricity else math.nan
    kwh = listed if usd_per_kwh is None else usd_per_kwh
    cells = []
    for cell in analysis.cells:
        own = _given(analysis, cell, given or {})
        instance = None if own is not None else _instance(analysis, cell, prices)
        cost = _cost(cell, prices, instance, own, today) if instance or own is not None else None
        cells.append(replace(cell, cost=cost, gpu=with_price(cell.gpu, kwh)))
    return replace(analysis, cells=tuple(cells))


def _given(analysis: Analysis, cell: Cell, given: Mapping[str, float]) -> float | None:
    setup = setup_of(cell.setup)
    names = [cell.setup, arm(setup, cell.device)]
    if not any(each.device == "cpu" and setup_of(each.setup) == setup for each in analysis.cells):
        names.append(setup)
    return next((given[name] for name in names if name in given), None)


def _instance(analysis: Analysis, cell: Cell, prices: PriceList) -> Instance | None:
    if cell.device == "cpu":
        return instance_for(prices, _vcpus(analysis, cell))
    gpus = analysis.machine.get("gpus")
    name = str(gpus[0]) if isinstance(gpus, list | tuple) and gpus else ""
    return instance_with_gpu(prices, _vcpus(analysis, cell), name)


def per_million_usd(hourly_usd: float, good_per_s: float) -> float:
    """USD for a million good answers: hourly ÷ (good answers an hour) × 10⁶, at the load measured, not at the peak;
    infinite where none was good."""
    return hourly_usd / (good_per_s * SECONDS_PER_HOUR) * 1e6 if good_per_s > 0 else math.inf


def _cost(cell: Cell, prices: PriceList, instance: Instance | None, own: float | None,
          today: date | None) -> Cost | None:
    if cell.verdict == "invalid" or math.isnan(cell.goodput.value):
        return None
    hourly = own if own is not None else (instance.hourly_usd if instance else math.nan)
    name = f"{instance.name} ({instance.cloud}, {instance.region})" if instance else "as given"
    return Cost(
        per_million_usd(hourly, cell.goodput.value), hourly, name,
        "given on the command line" if instance is None else instance.checked.isoformat() + _old(instance, today),
        _assumptions(cell, prices, instance, hourly, today), instance is None or instance.verified,
    )


def _old(instance: Instance, today: date | None) -> str:
    return old_words(instance, today) if today else ""


def _assumptions(cell: Cell, prices: PriceList, instance: Instance | None, hourly: float,
                 today: date | None) -> tuple[str, ...]:
    good = f"within {cell.good_ms:g} ms" if math.isfinite(cell.good_ms) else "however late"
    said = [
        f"One machine runs {cell.setup} all the time at the load measured ({cell.offered_rate:.3g} requests/s offered, "
        f"{cell.goodput.value:.3g}/s right and {good}): no spare replica, no idle hours.",
    ]
    if instance is None:
        said.append(f"${hourly:g} an hour as given.")
    else:
        doubt = "" if instance.verified else "; not verified at the provider"
        said.append(f"${hourly:g} an hour for {instance.name} ({instance.vcpus} vCPUs, {instance.cloud} "
                    f"{instance.region}), on demand, from price list {prices.name}, checked "
                    f"{instance.checked.isoformat()} ({instance.source}{doubt}{_old(instance, today)}).")
        said.append(f"Measured with {cell.server_cpus} CPUs of this machine, which is taken to be as fast as the "
                    f"instance's; the whole instance is paid.")
    said.append("Disk, traffic, load balancer, people and discounts are not counted.")
    return tuple(said)


def _vcpus(analysis: Analysis, cell: Cell) -> int:
    """The measured machine's CPUs; where it does not tell, those the server had and one for the generator."""
    told = analysis.machine.get("cpus")
    return told if isinstance(told, int) and told > 0 else cell.server_cpus + 1
