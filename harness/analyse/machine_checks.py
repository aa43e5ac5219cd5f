"""Did the machine do anything else meanwhile? Accusations from what the probes saw (harness/run/probes.py)."""

from harness.analyse import probe_figures as seen
from harness.analyse.frames import RunView
from harness.analyse.model import Check

OTHER_SHARE = 0.2
STOLEN_SHARE = 0.02
STOLEN_TOO_MUCH = 0.1
PRESSURE_SHARE = 0.1
THROTTLED_SHARE = 0.001
SWAPPED_PAGES = 256


def other_work(view: RunView) -> Check:
    """Invalid where processes that are neither server nor generator used more than a fifth of the server's CPUs: its
    latency is then theirs as much as its own. A warning where it was the generator's: lag tells whether that mattered.
    """
    shares = {scope: seen.other_share(view.probes, scope, len(cpus), view.window_s)
              for scope, cpus in (("server", view.meta.server_cpus), ("load", view.meta.load_cpus))}
    figures = {f"{scope}_share": share for scope, share in shares.items()} | {"allowed": OTHER_SHARE}
    hint = "stop other work on this machine; another run may be going on"
    if shares["server"] > OTHER_SHARE:
        said = f"other processes used {shares['server']:.0%} of the server's CPUs"
        return Check("other_work", "invalid", said, hint, "host", figures)
    if shares["load"] > OTHER_SHARE:
        said = f"other processes used {shares['load']:.0%} of the generator's CPUs"
        return Check("other_work", "warning", said, hint, "host", figures)
    return Check("other_work", "ok", "nothing else used the CPUs", figures=figures)


def stolen(view: RunView) -> Check:
    """A warning where the hypervisor gave more than 2 % of the CPUs to others, invalid above 10 %."""
    cpus = len(view.meta.server_cpus) + len(view.meta.load_cpus)
    stolen_s = sum(seen.passed(view.probes, scope, "cores_stolen_s", view.window_s) for scope in ("server", "load"))
    share = stolen_s / (view.window_s * max(cpus, 1))
    figures = {"share": share, "allowed": STOLEN_SHARE}
    if share > STOLEN_SHARE:
        return Check("stolen", "invalid" if share > STOLEN_TOO_MUCH else "warning",
                     f"the hypervisor took {share:.1%} of the CPUs' time", "measure on a machine of its own",
                     "host", figures)
    return Check("stolen", "ok", "the hypervisor took no CPU time to speak of", figures=figures)


def pressure(view: RunView) -> Check:
    """A warning where tasks waited for memory or for the disk in more than a tenth of the time (PSI, `some`)."""
    shares = {kind: seen.passed(view.probes, "host", f"pressure_{kind}_s", view.window_s) / view.window_s
              for kind in ("memory", "io", "cpu")}
    figures = {f"{kind}_share": share for kind, share in shares.items()} | {"allowed": PRESSURE_SHARE}
    worst = max(("memory", "io"), key=lambda kind: shares[kind])
    if shares[worst] > PRESSURE_SHARE:
        return Check("pressure", "warning", f"tasks waited for {worst} in {shares[worst]:.0%} of the time",
                     "give the machine more memory, or stop what uses the disk", "host", figures)
    return Check("pressure", "ok", "nothing waited for memory or disk", figures=figures)


def throttled(view: RunView) -> Check:
    """A warning where a CPU quota or missing memory slowed the processes: any swapping to speak of, or more than 0.1 %
    of the time without CPU for the quota's sake."""
    waited_s = seen.passed(view.probes, "host", "throttled_s", view.window_s)
    pages = seen.passed(view.probes, "host", "swapped_pages", view.window_s)
    figures = {"throttled_s": waited_s, "swapped_pages": pages}
    if waited_s > THROTTLED_SHARE * view.window_s:
        return Check("throttled", "warning", f"a CPU quota held the processes back for {waited_s:.2f} s",
                     "raise the quota of this control group", "host", figures)
    if pages > SWAPPED_PAGES:
        return Check("throttled", "warning", f"{pages:.0f} pages were swapped", "give the machine more memory", "host",
                     figures)
    return Check("throttled", "ok", "nothing was throttled or swapped", figures=figures)


def moved_cores(view: RunView) -> Check:
    """Invalid where a process of the server could run on CPUs that were not given to it."""
    most, names = seen.strays(view.probes)
    figures = {"cpus": most}
    if most > 0:
        return Check("moved_cores", "invalid", f"{', '.join(names)} of the server could use {most:.0f} CPUs that are "
                     "not the server's", "leave the affinity of processes as the harness sets it", "setup", figures)
    return Check("moved_cores", "ok", "the server stayed on its CPUs", figures=figures)


def died(view: RunView) -> Check:
    """A warning where a process of the server that was there when the load began ended under it."""
    names = seen.gone(view.probes, view.window_s)
    if names:
        return Check("died", "warning", f"{len(names)} of the server's processes ended under load: "
                     f"{', '.join(sorted(set(names)))}", "look at server.log", "setup", {"processes": len(names)})
    return Check("died", "ok", "every process of the server lived through the load")
