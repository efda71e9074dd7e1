from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.registry import build_network
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.networks.upscale import OnnxUpscaler
from workers.delivery.onnx_graph import network_to_onnx
from workers.training.torch_upscaler import TorchUpscaler

CPU = torch.device("cpu")
EIGHT_BITS: dict[str, BitDepth] = {"base_bit_depth": 8, "bit_depth": 8}


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
    assert upscaler(levels, **EIGHT_BITS)[0, 0, ::2, 0].tolist() == [0, 0, 2, 4, 255]


def test_any_batch_size_gives_the_same_bytes() -> None:
    torch.manual_seed(0)
    network = build_network("espcn", scale=2, channels="rgb")
    patches = np.random.default_rng(0).integers(0, 256, (10, 14, 12, 3), np.uint8)
    whole, *others = (
        TorchUpscaler(network, scale=2, channels="rgb", device=CPU, batch_size=size)(patches, **EIGHT_BITS)
        for size in (10, 1, 7)
    )
    assert whole.shape == (10, 28, 24, 3)
    for other in others:
        assert np.array_equal(whole, other)


@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (8, 10), (10, 8), (10, 10)])
@pytest.mark.parametrize(("architecture", "scale"), [("wdsr-small", 3), ("wdsr-small", 1)])
def test_torch_and_the_clients_decoder_agree(
    architecture: str, scale: int, base_bit_depth: BitDepth, bit_depth: BitDepth
) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, scale=scale, channels="rgb").eval()
    random = np.random.default_rng(0)
    patches = random.integers(0, peak(base_bit_depth) + 1, (4, 14, 12, 3)).astype(sample_type(base_bit_depth))
    model = network_to_onnx(network, channels="rgb", precision="fp32")
    ours, clients = (
        upscaler(patches, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
        for upscaler in (
            TorchUpscaler(network, scale=scale, channels="rgb", device=CPU),
            OnnxUpscaler(model, scale=scale, channels="rgb"),
        )
    )
    assert ours.dtype == clients.dtype == sample_type(bit_depth)
    assert ours.max() <= peak(bit_depth)
    difference = np.abs(ours.astype(int) - clients)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001 * (peak(bit_depth) / 255)


def test_a_network_that_gives_back_what_it_got_harms_no_batch() -> None:
    patches = np.random.default_rng(0).integers(0, 1024, (3, 6, 5, 3)).astype(np.uint16)
    upscaler = TorchUpscaler(nn.Identity(), scale=1, channels="rgb", device=CPU, batch_size=2)
    assert np.array_equal(upscaler(patches, base_bit_depth=10, bit_depth=10), patches)
