"""ONNX graphs, small and the same every time: torch's export, stripped, the weights in the precision of delivery."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from models.channels import Channels, channel_count
from workers.training.weight_rounding import Int8Weights, Precision, RoundedNetwork

OPSET = 17
_SHAPE = {0: "batch", 2: "height", 3: "width"}


def network_to_onnx(
    network: nn.Module,
    *,
    channels: Channels,
    precision: Precision,
    rounded: RoundedNetwork | None = None,
) -> bytes:
    """A self-contained ONNX file: float32 `lr` (batch, C, height, width) to float32 `hr`, all sizes dynamic.

    int8: each convolution's weights are int8 with a DequantizeLinear per output channel before it, biases float32.
    fp16: all weights are float16 with a Cast before each use, so that arithmetic stays float32. fp32: as they are.

    Args:
        network: with the very values that the file will hold.
        rounded: with precision int8: how the convolutions' weights are written.
    """
    model = _export(network, channels=channels)
    _drop_identities(model)
    _store_weights(model, precision, rounded.weights if rounded is not None else {})
    _rename(model)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _export(network: nn.Module, *, channels: Channels) -> ModelProto:
    sample = torch.zeros(1, channel_count(channels), 8, 8)
    written = io.BytesIO()
    with warnings.catch_warnings():
        # torch's newer exporter writes larger graphs, takes seconds instead of tenths, and needs another package.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.cpu().to(memory_format=torch.contiguous_format).eval(),  # type: ignore[call-overload]
            (sample,),
            written,  # type: ignore[arg-type]
            input_names=["lr"],
            output_names=["hr"],
            dynamic_axes={"lr": _SHAPE, "hr": {0: "batch", 2: "hr_height", 3: "hr_width"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(written.getvalue())


def _drop_identities(model: ModelProto) -> None:
    """Equal weights are exported once, with Identity nodes for the others: read the weights directly instead."""
    aliases = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
    kept = [node for node in model.graph.node if node.op_type != "Identity"]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = aliases.get(name, name)
    _replace_nodes(model, kept)


def _store_weights(model: ModelProto, precision: Precision, int8: Mapping[str, Int8Weights]) -> None:
    """Write the weights in their coding, with a node in front that decodes them under their old name."""
    stored: list[TensorProto] = []
    decoders: list[NodeProto] = []
    for tensor in model.graph.initializer:
        if precision == "int8" and tensor.name in int8:
            parts, decoder = _int8_parts(tensor.name, int8[tensor.name])
        elif precision == "fp16" and tensor.data_type == TensorProto.FLOAT and tensor.dims:
            parts, decoder = _fp16_parts(tensor)
        else:
            stored.append(tensor)
            continue
        stored += parts
        decoders.append(decoder)
    kept = [TensorProto.FromString(tensor.SerializeToString()) for tensor in stored]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    _replace_nodes(model, [*decoders, *model.graph.node])


def _int8_parts(name: str, weights: Int8Weights) -> tuple[list[TensorProto], NodeProto]:
    values, scales = f"{name}.values", f"{name}.scales"
    parts = [numpy_helper.from_array(weights.values.numpy(), values)]
    parts.append(numpy_helper.from_array(weights.scales.numpy(), scales))
    return parts, helper.make_node("DequantizeLinear", [values, scales], [name], axis=0)


def _fp16_parts(tensor: TensorProto) -> tuple[list[TensorProto], NodeProto]:
    halved = f"{tensor.name}.half"
    values = numpy_helper.to_array(tensor).astype(np.float16)
    decoder = helper.make_node("Cast", [halved], [tensor.name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(values, halved)], decoder


def _rename(model: ModelProto) -> None:
    """Short names: a graph of many small layers spends more bytes on names than on structure."""
    names = {"": "", "lr": "lr", "hr": "hr"}
    for number, tensor in enumerate(model.graph.initializer):
        names[tensor.name] = tensor.name = f"w{number}"
    for number, node in enumerate(model.graph.node):
        for output in node.output:
            names.setdefault(output, f"x{number}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name = ""


def _strip(model: ModelProto) -> None:
    """Leave out what only a person would read, and what a loader works out itself."""
    model.producer_name = model.producer_version = model.doc_string = ""
    model.graph.name = "network"
    model.graph.doc_string = ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _replace_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
