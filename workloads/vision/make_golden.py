"""Writes golden.json: fixed images as PyTorch's own layers classify them, the check of our ONNX graph.

    uv venv golden
    UV_FIND_LINKS=$PIP_FIND_LINKS uv pip install --python golden/bin/python torch numpy pillow onnxruntime
    PYTHONPATH=.. golden/bin/python make_golden.py
"""

import base64
import io
import itertools
import json
from pathlib import Path

import model as served
import numpy as np
import stream
import torch
from PIL import Image
from torch import nn
from weights import STEM, Block, Convolution, blocks, weights

SEED, COUNT = 50_224, 8
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def layer(each: Convolution, drawn: dict[str, np.ndarray]) -> nn.Conv2d:
    made = nn.Conv2d(each.inputs, each.outputs, each.kernel, each.stride, each.kernel // 2, bias=False)
    made.weight.data = torch.from_numpy(drawn[each.name])
    return made


class Bottleneck(nn.Module):
    """One block."""

    def __init__(self, block: Block, drawn: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.inner = nn.Sequential(layer(block.reduce, drawn), nn.ReLU(), layer(block.middle, drawn), nn.ReLU(),
                                   layer(block.expand, drawn))
        self.around = layer(block.shortcut, drawn) if block.shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.inner(x) + self.around(x))


def network() -> nn.Module:
    drawn = weights()
    head = nn.Linear(*drawn["head"].shape, bias=False)
    head.weight.data = torch.from_numpy(np.ascontiguousarray(drawn["head"].T))
    return nn.Sequential(layer(STEM, drawn), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         *(Bottleneck(block, drawn) for block in blocks()),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), head, nn.Softmax(-1)).eval()


def main() -> None:
    made, golden = network(), []
    bodies = [body for body, _ in itertools.islice(stream.payloads(SEED), COUNT - 1)]
    plain = io.BytesIO()
    Image.open(io.BytesIO(bodies[0])).crop((0, 0, 150, 100)).save(plain, "PNG")    # another format and another size
    for body in [*bodies, plain.getvalue()]:
        pixels = torch.from_numpy(served.decode(body).copy()).permute(2, 0, 1) / 255
        x = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
        with torch.no_grad():
            shares, classes = made(x[None])[0].topk(5)
        print(*zip(classes.tolist(), shares.tolist(), strict=True))
        answer = {"top": [{"class": each, "probability": round(share, 6)}
                          for each, share in zip(classes.tolist(), shares.tolist(), strict=True)]}
        golden.append({"body_base64": base64.b64encode(body).decode(), "answer": answer})
    lines = ",\n".join(json.dumps(item) for item in golden)
    Path(__file__).with_name("golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
