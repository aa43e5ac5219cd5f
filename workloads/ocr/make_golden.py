"""Writes golden.json: fixed lines as the OCR library's own pipeline (OpenCV, its own decoding) reads them.

    uv venv golden && uv pip install --python golden/bin/python rapidocr-onnxruntime
    golden/bin/python make_golden.py
"""

import base64
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import rapidocr_onnxruntime
import stream
from rapidocr_onnxruntime.ch_ppocr_rec import TextRecognizer

SEED, COUNT = 20_240, 10


def main() -> None:
    package = Path(rapidocr_onnxruntime.__file__).parent
    recognise = TextRecognizer({
        "model_path": str(package / "models" / "ch_PP-OCRv4_rec_infer.onnx"),
        "rec_img_shape": [3, 48, 320], "rec_batch_num": 1, "intra_op_num_threads": 1, "inter_op_num_threads": 1,
        "use_cuda": False, "use_dml": False,
    })
    golden = []
    for body, truth in itertools.islice(stream.payloads(SEED), COUNT):
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        (text, confidence), = recognise([image])[0]
        print(f"{truth!r} read as {text!r}, {confidence:.3f}")
        golden.append({"body_base64": base64.b64encode(body).decode(),
                       "answer": {"text": text, "confidence": round(float(confidence), 6)}})
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in golden)
    Path(__file__).with_name("golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
