from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from models.registry import ARCHITECTURES, build_network
from workers.onnx_graph import OPSET, network_to_onnx
from workers.weight_coding import Precision, delivered_weights, quantise_int8

Channels = Literal["rgb", "luma"]


def random_network(architecture: str, *, scale: int, channels: Channels) -> nn.Module:
    torch.manual_seed(3)
    network = build_network(architecture, scale=scale, channels=channels)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.02)
    return network.eval()


@pytest.mark.parametrize(
    ("channels", "precision"), [("rgb", "int8"), ("rgb", "fp16"), ("rgb", "fp32"), ("luma", "int8")]
)
@pytest.mark.parametrize("architecture", [architecture.name for architecture in ARCHITECTURES])
def test_onnx_runtime_and_torch_agree_on_the_delivered_weights(
    architecture: str, channels: Channels, precision: Precision
) -> None:
    network = random_network(architecture, scale=3, channels=channels)
    model = network_to_onnx(network, channels=channels, precision=precision)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    network.load_state_dict(delivered_weights(network.state_dict(), precision))
    for batch, height, width in ((1, 9, 14), (3, 12, 8)):
        lr = torch.rand(batch, 3 if channels == "rgb" else 1, height, width)
        (hr,) = session.run(["hr"], {"lr": lr.numpy()})
        with torch.inference_mode():
            expected = network(lr).numpy()
        assert hr.shape == (batch, lr.shape[1], 3 * height, 3 * width)
        np.testing.assert_allclose(hr, expected, atol=2e-5)


@pytest.mark.parametrize(("precision", "bytes_each"), [("int8", 1), ("fp16", 2), ("fp32", 4)])
def test_a_graph_is_small_self_contained_and_always_the_same(precision: Precision, bytes_each: int) -> None:
    network = random_network("espcn", scale=2, channels="rgb")
    written = network_to_onnx(network, channels="rgb", precision=precision)
    assert written == network_to_onnx(network, channels="rgb", precision=precision)
    assert 0 < len(written) - 60_652 * bytes_each < 2500
    model = onnx.load_from_string(written)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_weights_that_are_equal_by_chance_are_all_there() -> None:
    # torch's exporter merges equal weights, here the zero biases.
    network = build_network("wdsr-small", scale=2, channels="rgb").eval()
    model = onnx.load_from_string(network_to_onnx(network, channels="rgb", precision="fp32"))
    assert "Identity" not in {node.op_type for node in model.graph.node}


def test_int8_keeps_each_channel_within_half_a_step() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    weights[1] *= 1e-3
    weights[2] = 0
    coded = quantise_int8(weights)
    assert coded.steps == pytest.approx([*(np.abs(weights[:2]).max(axis=(1, 2, 3)) / 127), 1, *coded.steps[3:]])
    assert np.abs(coded.values).max() == 127
    error = np.abs(coded.decoded() - weights).max(axis=(1, 2, 3))
    assert (error <= coded.steps / 2 * 1.0001).all()
