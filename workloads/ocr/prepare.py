"""Copies PP-OCRv4's line recognition out of its package: `python prepare.py OUT_DIR`."""

import importlib.util
import shutil
import sys
from pathlib import Path

PACKAGE = "rapidocr_onnxruntime"
FILE = "ch_PP-OCRv4_rec_infer.onnx"


def main(out: Path) -> None:
    # Found, not imported: importing the library would need OpenCV.
    spec = importlib.util.find_spec(PACKAGE)
    print(f"copying {FILE}", flush=True)
    shutil.copyfile(Path(spec.submodule_search_locations[0]) / "models" / FILE, out / "model.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
