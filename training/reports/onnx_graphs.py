"""What torch's ONNX exporter gets wrong in large scripted graphs, mended before and after it.

Three faults, all of torch 2.13: it mixes up values of the graph that differ only in the number behind their name;
`Tensor.unbind` keeps the axis that it should drop; a branch that returns one value twice names both the same, which
onnxruntime then misses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_GRAPH = 5  # AttributeProto.GRAPH


def name_values_apart(module: Any) -> None:
    """Inline the graph of `module.forward`, and name every value of it so that no two names share a stem."""
    graph = module.forward.graph
    torch._C._jit_pass_inline(graph)
    for number, value in enumerate(_values(graph)):
        stem, dot, _ = value.debugName().partition(".")
        if dot and stem != "self":
            # Letters only: a number at the end is what the exporter cuts off.
            value.setDebugName(f"{stem}_{''.join('abcdefghij'[int(digit)] for digit in str(number))}")


def _values(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield from node.outputs()
        for inner in node.blocks():
            yield from inner.inputs()
            yield from _values(inner)


def repaired(data: bytes) -> bytes:
    """The ONNX file `data` with plain operators in place of sequences of single places, and outputs named apart."""
    import onnx

    model = onnx.load_from_string(data)
    graphs = list(_graphs(model.graph))
    _select_from_tensors(graphs)
    _name_outputs_apart(graphs)
    return bytes(model.SerializeToString())


def _graphs(graph: Any) -> Iterator[Any]:
    """`graph` and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == _GRAPH:
                yield from _graphs(attribute.g)


def _select_from_tensors(graphs: list[Any]) -> None:
    """Replace `SequenceAt(SplitToSequence(x), i)`, which keeps the axis, by `Gather(x, i)`, which drops it.

    Only where the node says `keepdims` 0: ONNX ignores that where the sizes of the parts are given, as they are here.
    """
    from onnx import helper

    splits = {node.output[0]: node for graph in graphs for node in graph.node if _is_unbind(node)}
    for node in (node for graph in graphs for node in graph.node):
        if node.op_type == "SequenceAt" and node.input[0] in splits:
            split = splits[node.input[0]]
            inputs = [split.input[0], node.input[1]]
            node.CopyFrom(
                helper.make_node(
                    "Gather", inputs, list(node.output), name=node.name, axis=_attributes(split).get("axis", 0)
                )
            )
    still_read = {name for graph in graphs for node in graph.node for name in node.input}
    for graph in graphs:
        for node in [node for node in graph.node if _is_unbind(node) and node.output[0] not in still_read]:
            graph.node.remove(node)


def _is_unbind(node: Any) -> bool:
    return node.op_type == "SplitToSequence" and _attributes(node).get("keepdims", 1) == 0


def _attributes(node: Any) -> dict[str, int]:
    return {attribute.name: attribute.i for attribute in node.attribute}


def _name_outputs_apart(graphs: list[Any]) -> None:
    """Give each output of a branch a name of its own."""
    from onnx import helper

    for graph in graphs:
        names: set[str] = set()
        for position, output in enumerate(graph.output):
            if output.name in names:
                name = f"{output.name}_{position}"
                graph.node.append(helper.make_node("Identity", [output.name], [name], name=name))
                output.name = name
            names.add(output.name)
