"""All files of a report, written together or not at all."""

import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.analyse.memory import keep_freed
from harness.analyse.model import Analysis
from harness.errors import TailraceError
from harness.record.plain import plain
from harness.record.read import find_runs
from harness.report.handed import HANDED, hand
from harness.report.html import page
from harness.report.junit import junit
from harness.report.markdown import markdown
from harness.report.notebook import SOURCES, execute
from harness.report.options import ENVIRONMENT, Options
from harness.report.rows import opened
from harness.report.words import clean, portable

SUMMARY_SCHEMA = 1
FILES = ("notebook.ipynb", "report.html", "report.md", "summary.json", "junit.xml")


def report(options: Options, out: Path) -> Analysis:
    """Writes FILES into `out` (made where it is missing) and returns what they say.

    The notebook is executed in a kernel beside this process, which starts while rows are analysed here. Raises
    TailraceError when there is nothing to report, a cell fails, or `out` cannot be written.
    """
    find_runs(Path(options.results))    # says at once what is wrong with the folder, before a kernel starts
    keep_freed()                        # before any thread has memory of its own
    asked = json.dumps(asdict(options) | {"results": str(Path(options.results).resolve())})
    with tempfile.TemporaryDirectory(prefix="tailrace-") as scratch, ThreadPoolExecutor(1) as beside:
        handed = Path(scratch) / "analysis.npz"
        notebook = beside.submit(execute, SOURCES / "comparison.py", {ENVIRONMENT: asked, HANDED: str(handed)})
        found = None
        try:
            found = opened(options)
        finally:
            hand(found, handed)
        analysis, _ = found
        light = {"report.md": markdown(analysis).encode(), "summary.json": as_json(summary(analysis)),
                 "junit.xml": junit(analysis)}
        import nbconvert.filters  # noqa: F401, PLC0415 -- for the page, while figures are drawn
        executed = json.loads(portable_text(as_json(notebook.result()), Path(options.results)))
    files = {"notebook.ipynb": as_json(executed), "report.html": page(executed, clean(analysis.title)).encode(),
             **{name: portable_text(content, Path(options.results)) for name, content in light.items()}}
    write_files(files, out)
    return analysis


def summary(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain values for JSON: stable keys, figures that JSON has no word for as null."""
    return {"schema": SUMMARY_SCHEMA, **plain(analysis)}


def as_json(value: Any) -> bytes:
    """Indented JSON, with a newline at its end."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def portable_text(content: bytes, results: Path) -> bytes:
    """The text without this machine's folders."""
    places = {str(results.resolve()): "results", str(Path.cwd()): ".", sys.prefix: "PYTHON",
              tempfile.gettempdir(): "TMP", str(Path.home()): "~"}
    return portable(content.decode(), places).encode()


def write_files(files: dict[str, bytes], out: Path) -> None:
    """Each file appears whole, by rename; nothing appears before all are written beside."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".report-", dir=out))
        try:
            for name, content in files.items():
                (scratch / name).write_bytes(content)
            for name in files:
                os.replace(scratch / name, out / name)  # noqa: PTH105 -- as atomic as it gets
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise TailraceError(f"{out}: the report cannot be written: {error.strerror}",
                            "free some space, or give another folder with --out") from None
