"""Several nodes that one kernel computes, as one node: matrix product with offset, and attention. Pure.

On a GPU a small batch costs about what its kernels cost to start, so fewer of them is faster.
"""

from collections import Counter
from dataclasses import replace

from accelerator.onnx_file import Graph, Node


def fused(graph: Graph) -> Graph:
    """A graph of the same outputs whose Linear and Attention4D nodes (accelerator.operators) stand for several."""
    return _with_attention(_with_linear(graph))


def _uses(graph: Graph) -> Counter[str]:
    return Counter([name for node in graph.nodes for name in node.inputs] + list(graph.outputs))


def _made(graph: Graph, uses: Counter[str]) -> dict[str, Node]:
    """What is read once only, by the node that makes it."""
    return {name: node for node in graph.nodes for name in node.outputs if uses[name] == 1}


def _with_linear(graph: Graph) -> Graph:
    made, gone, changed = _made(graph, _uses(graph)), set(), {}
    for node in graph.nodes:
        if node.operator != "Add":
            continue
        for one, other in (node.inputs, node.inputs[::-1]):
            product, offset = made.get(one), graph.constants.get(other)
            if product is not None and product.operator == "MatMul" and offset is not None and offset.ndim == 1:
                weight = graph.constants.get(product.inputs[1])
                if weight is not None and weight.ndim == 2 and weight.shape[1] == len(offset):
                    gone.add(id(product))
                    changed[id(node)] = Node("Linear", (*product.inputs, other), node.outputs)
    return replace(graph, nodes=tuple(changed.get(id(node), node) for node in graph.nodes if id(node) not in gone))


def _with_attention(graph: Graph) -> Graph:
    made, gone, changed = _made(graph, _uses(graph)), set(), {}
    for node in graph.nodes:
        shares = made.get(node.inputs[0]) if node.operator == "MatMul" else None
        if shares is None or shares.operator != "Softmax" or shares.attributes.get("axis", -1) not in (-1, 3):
            continue
        scores, bias, parts = made.get(shares.inputs[0]), (), [node, shares]
        if scores is not None and scores.operator == "Add" and scores.inputs[0] in made:
            parts.append(scores)
            scores, bias = made[scores.inputs[0]], (scores.inputs[1],)
        turned = made.get(scores.inputs[1]) if scores is not None and scores.operator == "MatMul" else None
        if turned is None or turned.operator != "Transpose" or turned.attributes.get("perm") != [0, 1, 3, 2]:
            continue
        gone.update(id(part) for part in (*parts[1:], scores, turned))
        changed[id(node)] = Node("Attention4D", (scores.inputs[0], turned.inputs[0], node.inputs[1], *bias),
                                 node.outputs)
    return replace(graph, nodes=tuple(changed.get(id(node), node) for node in graph.nodes if id(node) not in gone))
