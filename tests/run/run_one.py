"""`run_one.py TOY RESULTS SECONDS`: one run of a toy in a process of its own, so that tests may kill that."""

import sys
from pathlib import Path

from harness.catalog.discover import Catalog
from harness.errors import Exit, TailraceError
from harness.plan.attempt import Attempt
from harness.record.schema import RunMeta
from harness.run.bench import this_bench
from harness.run.cell import Progress
from harness.run.race import race


class Printer:
    """Prints a line when answers come in."""

    def say(self, message: str) -> None:
        print(message, flush=True)

    def started(self, attempt: Attempt, _upcoming: Attempt | None) -> None:
        print(attempt.setup.name, flush=True)

    def progress(self, progress: Progress) -> None:
        print(f"done {progress.done}", flush=True)

    def finished(self, _attempt: Attempt, meta: RunMeta) -> None:
        print(meta.status, meta.reason, flush=True)


def main() -> int:
    toy, results, seconds = sys.argv[1:]
    catalog = Catalog(Path(__file__).parents[1] / "toys")
    scenario = catalog.scenario("brief").resolved(1)
    stage = scenario.stage[0].model_copy(update={"duration_s": float(seconds)})
    attempt = Attempt("toys", "", catalog.setup(toy), catalog.workload("echo"),
                      scenario.model_copy(update={"stage": (stage,)}), 1.0)
    try:
        race([attempt], this_bench(catalog, Path(results)), Printer())
    except TailraceError as error:
        print(error, flush=True)
        return error.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
