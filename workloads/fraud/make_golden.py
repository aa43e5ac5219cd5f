"""Writes golden.json: scores by LightGBM itself, from the model.txt of a preparation, over the whole range of scores.

    uv venv golden && uv pip sync --python golden/bin/python prepare.txt && mkdir made
    golden/bin/python prepare.py made && golden/bin/python make_golden.py made
"""

import json
import sys
from pathlib import Path

import lightgbm
from transactions import FEATURES, transactions

SEED, ROWS, COUNT = 20_262, 20_000, 16


def main(made: Path) -> None:
    features = transactions(SEED, ROWS).features
    scores = lightgbm.Booster(model_file=made / "model.txt").predict(features)
    order = scores.argsort()
    # Nearer to the top rank by rank: most transactions are honest and would all score about nothing.
    picked = [order[-round(ROWS ** (index / COUNT))] for index in range(COUNT, -1, -1)]
    golden = []
    for row in picked:
        body = {name: int(value) if whole else round(value, 2)
                for (name, (whole, _)), value in zip(FEATURES.items(), features[row].tolist(), strict=True)}
        golden.append({"body": json.dumps(body), "answer": {"fraud": round(float(scores[row]), 6)}})
    lines = ",\n".join(json.dumps(item) for item in golden)
    Path(__file__).with_name("golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
