"""A notebook's source becomes an executed notebook, in a kernel of this very interpreter."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import TailraceError

SOURCES = Path(__file__).resolve().parents[2] / "notebooks"
TIMEOUT_S = 600


def execute(source: Path, environment: Mapping[str, str], folder: Path | None = None) -> dict[str, Any]:
    """The executed notebook (nbformat 4) of a py:percent source; `environment` is added to the kernel's, which works
    in `folder` (this process's where None).

    Raises TailraceError with the kernel's last words when a cell fails.
    """
    import jupytext  # type: ignore[import-untyped]  # noqa: PLC0415 -- a second that only a report pays
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415
    from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415
    from nbclient import NotebookClient  # noqa: PLC0415
    from nbclient.exceptions import CellExecutionError  # noqa: PLC0415

    notebook = jupytext.read(source, fmt="py:percent")
    with tempfile.TemporaryDirectory(prefix="tailrace-") as scratch:
        own = Path(scratch)
        _write_spec(own / "python3")
        manager = AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[scratch]),
            connection_file=str(own / "connection.json"), transport="ipc", ip=str(own / "ipc"))
        client = NotebookClient(notebook, km=manager, timeout=TIMEOUT_S, record_timing=False,
                                shutdown_kernel="immediate")  # it holds nothing; asked, it takes 3 s to leave
        try:
            # Without cleanup_kc a kernel whose manager was given would be left running.
            client.execute(cwd=str(folder or Path.cwd()), cleanup_kc=True,
                           env={**os.environ, "IPYTHONDIR": str(own / "ipython"), **environment})
        except CellExecutionError as error:
            raise TailraceError(f"{source.name}: a cell failed: {error.ename}: {error.evalue}",
                                "run the notebook by hand to look closer") from None
    _tidy(notebook)
    return dict(notebook)


def _write_spec(folder: Path) -> None:
    """A kernel of this interpreter, known to nobody else: nothing has to be installed into the user's Jupyter."""
    folder.mkdir()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python", "interrupt_mode": "signal"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def _tidy(notebook: dict[str, Any]) -> None:
    """Leaves nothing that differs from one execution to the next without meaning anything."""
    notebook["metadata"] = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                            "language_info": {"name": "python"}}
    for index, cell in enumerate(notebook["cells"]):
        cell["id"], cell["metadata"] = f"cell-{index}", {}
