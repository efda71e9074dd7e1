from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.registry import build_network
from stdo.decoder.upscale import OnnxUpscaler
from workers.delivery.onnx_graph import network_to_onnx
from workers.training.torch_upscaler import TorchUpscaler

CPU = torch.device("cpu")


class Affine(nn.Module):
    """Enlarges by repetition, then gain and offset."""

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) * self.gain + self.offset


def test_output_is_clipped_and_rounded_half_up() -> None:
    levels = np.array([0, 1, 2, 3, 200], np.uint8).reshape(1, 1, 5, 1)
    upscaler = TorchUpscaler(Affine(2.0, -2.5 / 255), scale=2, channels="luma", device=CPU)
    assert upscaler(levels)[0, 0, ::2, 0].tolist() == [0, 0, 2, 4, 255]


def test_any_batch_size_gives_the_same_bytes() -> None:
    torch.manual_seed(0)
    network = build_network("espcn", scale=2, channels="rgb")
    patches = np.random.default_rng(0).integers(0, 256, (10, 14, 12, 3), np.uint8)
    whole, *others = (
        TorchUpscaler(network, scale=2, channels="rgb", device=CPU, batch_size=size)(patches) for size in (10, 1, 7)
    )
    assert whole.shape == (10, 28, 24, 3)
    for other in others:
        assert np.array_equal(whole, other)


def test_torch_and_the_clients_decoder_agree() -> None:
    torch.manual_seed(0)
    network = build_network("wdsr-small", scale=3, channels="rgb").eval()
    patches = np.random.default_rng(0).integers(0, 256, (4, 14, 12, 3), np.uint8)
    ours = TorchUpscaler(network, scale=3, channels="rgb", device=CPU)(patches)
    clients = OnnxUpscaler(network_to_onnx(network, channels="rgb", precision="fp32"), scale=3, channels="rgb")(patches)
    difference = np.abs(ours.astype(int) - clients)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
