"""The decision record of an answer: what it tells, gathered, and where it would lie; or why there is none."""

from datetime import date
from pathlib import Path
from typing import Any

from harness.catalog.discover import find_catalog
from harness.decide.bill_question import Question
from harness.decide.choice import DECIDED
from harness.decide.choice_answer import Answer, Wishes
from harness.decide.choice_recheck import evidence, triggers_of
from harness.errors import TailraceError
from harness.report.decision_record import Deciding, next_path, record


def drafted(answer: Answer, question: Question, wishes: Wishes, folder: Path, today: date) -> tuple[Path, str]:
    """The record's next free path in `folder`, and its text. Raises TailraceError where nothing is decided, where runs
    are missing or altered, and where no run stands behind a figure."""
    choice = answer.choice
    if choice.kind not in DECIDED:
        raise TailraceError("there is nothing to record yet", choice.sentence.rstrip("."))
    runs = {each.offer.setup: each.offer.run_ids for each in choice.bills}
    runs |= {name: tuple(run.run_id for run in answer.found.cells[name].runs) for name in choice.without
             if name in answer.found.cells}
    stored, problems = evidence(question.results, [run for ids in runs.values() for run in ids])
    if problems:
        raise TailraceError(f"the evidence is not whole: {problems[0]}", "measure that setup again")
    offer = next(each.offer for each in choice.bills if each.offer.setup == choice.named[0])
    path = next_path(folder, question.workload, offer.setup)
    title = find_catalog().workload(question.workload).title
    deciding = Deciding(choice, answer.wish, question.workload, title, answer.demand, answer.cases, answer.found.cells,
                        runs, triggers_of(_told(question, wishes), offer, stored, answer.demand.mean))
    return path, record(deciding, path, question.results, today)


def _told(question: Question, wishes: Wishes) -> dict[str, Any]:
    """The options of the command line that ask this, by name; "" and [] where they were left out."""
    return {"workload": question.workload, "slo": list(question.slo), "demand": question.demand,
            "setup": list(question.setups), "fleet": question.fleet, "must": wishes.must, "weights": wishes.weights,
            "worth": wishes.worth, "error": wishes.error, "price": list(question.prices),
            "instance": list(question.instances), "speed": list(question.speeds), "carries": list(question.carries),
            "machine": list(question.machines),
            "price_list": str(question.price_list) if question.price_list else ""}
