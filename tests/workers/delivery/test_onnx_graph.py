from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from models.registry import ARCHITECTURES, build_network
from stdo.networks.onnx_profile import check_profile
from workers.delivery.onnx_graph import OPSET, network_to_onnx
from workers.training.trained_network import TrainedNetwork
from workers.training.weight_rounding import Int8Weights, Precision, RoundedNetwork, int8_scales

Channels = Literal["rgb", "luma"]


def random_network(architecture: str, *, scale: int, channels: Channels) -> nn.Module:
    torch.manual_seed(3)
    network = build_network(architecture, scale=scale, channels=channels)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.02)
    return network.eval()


def trained(network: nn.Module) -> TrainedNetwork:
    """As if it had been trained, each weight rounded for itself."""
    weights = dict(network.state_dict())
    nearest = {name: nearest_int8(value) for name, value in weights.items() if value.ndim == 4}
    rounded = RoundedNetwork(weights=nearest, biases={})
    return TrainedNetwork(weights=weights, rounded=rounded, device="cpu", torch_version="2.9")


def nearest_int8(weights: torch.Tensor) -> Int8Weights:
    scales = int8_scales(weights)
    return Int8Weights(values=torch.round(weights / scales[:, None, None, None]).to(torch.int8), scales=scales)


def onnx_of(kept: TrainedNetwork, settings: EncodingSettings, precision: Precision) -> bytes:
    channels = settings.training.channels
    return network_to_onnx(
        kept.network(settings, precision), channels=channels, precision=precision, rounded=kept.rounded
    )


@pytest.mark.parametrize(
    ("channels", "precision"), [("rgb", "int8"), ("rgb", "fp16"), ("rgb", "fp32"), ("luma", "int8")]
)
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("architecture", [architecture.name for architecture in ARCHITECTURES])
def test_onnx_runtime_and_torch_agree_on_the_delivered_weights(
    architecture: str, scale: int, channels: Channels, precision: Precision
) -> None:
    training = {"architecture": architecture, "channels": channels, "start": "scratch"}
    settings = resolve_settings("fast", {"scale": scale, "training": training})
    kept = trained(random_network(architecture, scale=scale, channels=channels))
    model = onnx_of(kept, settings, precision)
    # A reader refuses whatever is not in the format's profile.
    check_profile(model)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    delivered = kept.network(settings, precision)
    for batch, height, width in ((1, 9, 14), (3, 12, 8)):
        lr = torch.rand(batch, 3 if channels == "rgb" else 1, height, width)
        (hr,) = session.run(["hr"], {"lr": lr.numpy()})
        with torch.inference_mode():
            expected = delivered(lr).numpy()
        assert hr.shape == (batch, lr.shape[1], scale * height, scale * width)
        np.testing.assert_allclose(hr, expected, atol=2e-5)


@pytest.mark.parametrize(("precision", "bytes_each"), [("int8", 1), ("fp16", 2), ("fp32", 4)])
def test_a_graph_is_small_self_contained_and_always_the_same(precision: Precision, bytes_each: int) -> None:
    kept, settings = trained(random_network("espcn", scale=2, channels="rgb")), resolve_settings("fast", {})
    written = onnx_of(kept, settings, precision)
    assert written == onnx_of(kept, settings, precision)
    assert 0 < len(written) - 60_652 * bytes_each < 2500
    model = onnx.load_from_string(written)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    types = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert types == {{1: TensorProto.INT8, 2: TensorProto.FLOAT16, 4: TensorProto.FLOAT}[bytes_each]}


def test_weights_that_are_equal_by_chance_are_all_there() -> None:
    # torch's exporter merges equal weights, here the zero biases.
    network = build_network("wdsr-small", scale=2, channels="rgb").eval()
    model = onnx.load_from_string(network_to_onnx(network, channels="rgb", precision="fp32"))
    assert "Identity" not in {node.op_type for node in model.graph.node}
