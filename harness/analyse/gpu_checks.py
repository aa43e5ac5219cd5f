"""Was the GPU itself, and the server's alone? Accusations from what NVML told beside a run (harness/run/gpu.py)."""

import numpy as np

from harness.analyse.frames import RunView
from harness.analyse.gpu_figures import series
from harness.analyse.model import Check

# NVML's bits of what holds the clocks down (nvml.h, nvmlClocksEventReason…).
FAULTS: dict[int, str] = {0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "its power supply's brake",
                          0x08: "the hardware"}
POWER_CAP = 0x04
SLOWED_SHARE = 0.01
SLOWED_TOO_MUCH = 0.5
CAPPED_SHARE = 0.1
SEEN_SHARE = 0.9


def gpu_throttled(view: RunView) -> Check:
    """A warning where heat or the power supply held the GPU's clocks down in more than 1 % of the looks while load
    counted, invalid above half of them; a note where its own power limit did in more than a tenth."""
    _, told = series(view.probes, "gpu_clock_reasons", 0.0, view.window_s) if view.probes else (None, np.zeros(0))
    bits = told.astype(np.int64)
    if not len(bits):
        return Check("gpu_throttled", "note", "the GPU does not tell what holds its clocks down",
                     "look at its clocks with nvidia-smi while a load runs", "host")
    shares = {name: float(np.mean((bits & bit) != 0)) for bit, name in FAULTS.items()}
    slowed = float(np.mean((bits & sum(FAULTS)) != 0))
    capped = float(np.mean((bits & POWER_CAP) != 0))
    figures = {"slowed_share": slowed, "allowed": SLOWED_SHARE, "power_capped_share": capped}
    if slowed > SLOWED_SHARE:
        worst = max(shares, key=lambda name: shares[name])
        return Check("gpu_throttled", "invalid" if slowed > SLOWED_TOO_MUCH else "warning",
                     f"{worst} held the GPU's clocks down in {slowed:.0%} of the looks",
                     "let it cool, and see that nothing else heats it", "host", figures)
    if capped > CAPPED_SHARE:
        return Check("gpu_throttled", "note", f"the GPU's own power limit held its clocks down in {capped:.0%} of the "
                     "looks", "compare with runs under the same limit alone", "host", figures)
    return Check("gpu_throttled", "ok", "nothing held the GPU's clocks down", figures=figures)


def gpu_shared(view: RunView) -> Check:
    """A warning where a process that is not the server's was on the GPU at any look while load counted."""
    _, others = series(view.probes, "gpu_strangers", 0.0, view.window_s) if view.probes else (None, np.zeros(0))
    if not len(others):
        return Check("gpu_shared", "note", "NVML does not tell who else is on the GPU",
                     "see with nvidia-smi that nobody is", "host")
    share, most = float(np.mean(others > 0)), float(np.max(others))
    figures = {"share": share, "processes": most}
    if most > 0:
        return Check("gpu_shared", "warning", f"up to {most:.0f} other processes were on the GPU, in {share:.0%} of "
                     "the looks", "stop other work on this GPU, or give the run one of its own with "
                     "CUDA_VISIBLE_DEVICES", "host", figures)
    return Check("gpu_shared", "ok", "the GPU was the server's alone", figures=figures)


def gpu_seen(view: RunView) -> Check:
    """A note where the GPU was looked at in less than nine tenths of the time: NVML failed, or never answered."""
    times, _ = series(view.probes, "gpu_mem_mb", 0.0, view.window_s) if view.probes else (np.zeros(0), None)
    share = float(np.ptp(times)) / view.window_s if len(times) > 1 else 0.0
    figures = {"share": share, "expected": SEEN_SHARE}
    if share >= SEEN_SHARE:
        return Check("gpu_seen", "ok", "the GPU was looked at all the time", figures=figures)
    said = view.probes["name"][view.probes["metric"] == "gpu_lost"].tolist() if view.probes else []
    why = f": {said[0]}" if said else ""
    return Check("gpu_seen", "note", f"the GPU was looked at in {share:.0%} of the time{why}",
                 "power, energy and use are of that time alone", "harness", figures)
