"""Writes ResNet-50 v1.5 with seeded weights as ONNX, with a dynamic batch: `python prepare.py OUT_DIR`.

The architecture is He et al. 2016 (table 1, 50 layers) with the stride of a block in its 3×3 convolution, which makes
it version 1.5, and with batch normalisation folded into the convolutions, as it is for serving. Images come as bytes:
normalising is part of the graph, so that a quarter of the bytes is copied to a device, and only the five best classes
leave it.
"""

import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, save
from weights import CLASSES, STEM, Block, Convolution, blocks, weights

SIZE, BEST = 224, 5
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)     # of ImageNet's pixels, red, green, blue, of 1


class Graph:
    """Nodes and constants in the order they were added."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: list = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def build(drawn: dict[str, np.ndarray]) -> ModelProto:
    """uint8 pixels [batch, 224, 224, 3], red, green, blue, to float32 probabilities and int64 classes [batch, 5]."""
    graph = Graph()
    x = graph.node("Cast", ["pixels"], "numbers", to=TensorProto.FLOAT)
    mean, deviation = (255 * np.array(values, np.float32) for values in (MEAN, DEVIATION))
    x = graph.node("Sub", [x, graph.constant("mean", mean)], "centred")
    x = graph.node("Mul", [x, graph.constant("scale", 1 / deviation)], "normalised")
    x = graph.node("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    x = rectified(graph, convolved(graph, STEM, x, drawn))
    x = graph.node("MaxPool", [x], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for block in blocks():
        x = bottleneck(graph, block, x, drawn)
    x = graph.node("GlobalAveragePool", [x], "averaged")
    x = graph.node("Reshape", [x, graph.constant("rows", np.array([0, -1], np.int64))], "features")
    x = graph.node("MatMul", [x, graph.constant("head.weight", drawn["head"])], "head.product")
    x = graph.node("Add", [x, graph.constant("head.bias", np.zeros(CLASSES, np.float32))], "head")
    x = graph.node("Softmax", [x], "shares", axis=-1)
    best = graph.constant("best", np.array([BEST], np.int64))
    graph.nodes.append(helper.make_node("TopK", [x, best], ["probabilities", "classes"], name="top"))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", BEST]),
               helper.make_tensor_value_info("classes", TensorProto.INT64, ["batch", BEST])]
    made = helper.make_graph(graph.nodes, "ResNet-50 v1.5, seeded weights", [pixels], outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def bottleneck(graph: Graph, block: Block, x: str, drawn: dict[str, np.ndarray]) -> str:
    """Three convolutions, added to the shortcut around them."""
    inner = rectified(graph, convolved(graph, block.reduce, x, drawn))
    inner = rectified(graph, convolved(graph, block.middle, inner, drawn))
    inner = convolved(graph, block.expand, inner, drawn)
    around = convolved(graph, block.shortcut, x, drawn) if block.shortcut else x
    return rectified(graph, graph.node("Add", [inner, around], block.expand.name + ".sum"))


def convolved(graph: Graph, layer: Convolution, x: str, drawn: dict[str, np.ndarray]) -> str:
    """A convolution whose padding keeps the size but for the stride; its bias, where batch normalisation went, is 0."""
    kernel = graph.constant(layer.name + ".weight", drawn[layer.name])
    bias = graph.constant(layer.name + ".bias", np.zeros(layer.outputs, np.float32))
    return graph.node("Conv", [x, kernel, bias], layer.name, kernel_shape=[layer.kernel] * 2,
                      strides=[layer.stride] * 2, pads=[layer.kernel // 2] * 4)


def rectified(graph: Graph, x: str) -> str:
    return graph.node("Relu", [x], x + ".relu")


def main(out: Path) -> None:
    print("drawing the weights", flush=True)
    drawn = weights()
    print(f"building the graph of {len(drawn)} layers", flush=True)
    model = build(drawn)
    checker.check_model(model, full_check=True)
    save(model, out / "model.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
