"""Trains the fraud score and writes it as ONNX: `python prepare.py OUT_DIR`.

One thread and LightGBM's deterministic mode, on quantised features: the same trees on every processor, or (where its
exponential differs in the last bit) trees whose answers differ by less than the golden answers' tolerance.
"""

import sys
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from transactions import FEATURES, transactions

SEED, ROWS, CHECK_ROWS = 20_260, 60_000, 10_000
TREES = 200
PARAMETERS = {
    "objective": "binary", "num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 100, "max_bin": 127,
    "lambda_l2": 1.0, "seed": SEED, "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
}
# ONNX adds up the trees in float32, LightGBM in float64.
MAX_DIFFERENCE = 1e-5


def main(out: Path) -> None:
    print(f"generating {ROWS} transactions", flush=True)
    seen = transactions(SEED, ROWS)
    print(f"training {TREES} trees", flush=True)
    data = lightgbm.Dataset(seen.features, seen.fraud, feature_name=list(FEATURES), params=PARAMETERS)
    booster = lightgbm.train(PARAMETERS, data, num_boost_round=TREES)
    print("writing ONNX and comparing it with LightGBM", flush=True)
    # Named, because the converter would else make up a name and no two files would be the same.
    inputs = [("features", FloatTensorType([None, len(FEATURES)]))]
    graph = convert_lightgbm(booster, name="fraud", initial_types=inputs, zipmap=False, target_opset=15)
    onnx.save(graph, out / "model.onnx")
    booster.save_model(out / "model.txt")
    compare(booster, out / "model.onnx")


def compare(booster: lightgbm.Booster, path: Path) -> None:
    """Ends the preparation when ONNX and LightGBM disagree on rows that were not trained on."""
    unseen = transactions(SEED + 1, CHECK_ROWS).features
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ours = session.run(["probabilities"], {"features": unseen})[0][:, 1]
    difference = float(np.abs(ours - booster.predict(unseen)).max())
    if difference > MAX_DIFFERENCE:
        sys.exit(f"the ONNX model differs from LightGBM by {difference:.2g}; at most {MAX_DIFFERENCE:g} is accepted")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
