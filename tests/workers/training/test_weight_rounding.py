from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.general import load_general_network
from workers.training.weight_rounding import Int8Weights, int8_scales, round_network


def smooth_pictures(seed: int) -> Tensor:
    """(6, 3, 40, 36) in [0, 1]: noise made smooth, whose neighbours go together as those of real pictures do."""
    noise = torch.rand(6, 3, 10, 9, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, scale_factor=4.0, mode="bicubic", align_corners=False).clamp(0, 1)


def nearest(weights: Tensor) -> Tensor:
    scales = int8_scales(weights)[:, None, None, None]
    return torch.round(weights / scales) * scales


def convolutions(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in network.state_dict().items() if value.ndim == 4]


@torch.inference_mode()
def error_with(network: nn.Module, weights: dict[str, Tensor], pictures: Tensor) -> float:
    """Mean squared change of the output, in 8-bit levels, where `weights` take the place of the network's own.

    Without what a halo cuts off: padding with zeros is nothing that pictures have.
    """
    wanted = network(pictures)
    changed = torch.func.functional_call(network, {**network.state_dict(), **weights}, pictures)
    return float((255 * (changed - wanted))[:, :, 8:-8, 8:-8].square().mean())


@pytest.mark.parametrize("architecture", ["espcn", "wdsr-small"])
def test_the_output_hardly_changes_also_on_pictures_not_looked_at(architecture: str) -> None:
    network = load_general_network(architecture, scale=2, channels="rgb")
    rounded = round_network(network, smooth_pictures(1))
    assert set(rounded.decoded()) == set(network.state_dict())
    unseen = smooth_pictures(2)
    ours = error_with(network, rounded.decoded(), unseen)
    each_for_itself = error_with(network, {name: nearest(coded) for name, coded in convolutions(network)}, unseen)
    assert ours < each_for_itself / 10
    # A squared level is 48 dB: well below what any network leaves of a picture's error.
    assert ours < 1 / 4


@pytest.mark.parametrize("architecture", ["espcn", "wdsr-small"])
def test_flat_areas_keep_their_brightness(architecture: str) -> None:
    """An eye sees a sky that is a level off; textures would hide it in the mean."""
    network = load_general_network(architecture, scale=2, channels="rgb")
    levels = torch.linspace(0.1, 0.9, 9)[:, None, None, None]
    rounded = round_network(network, torch.cat([smooth_pictures(1), levels.expand(9, 3, 40, 36)]))
    skies = torch.linspace(0.15, 0.85, 7)[:, None, None, None].expand(7, 3, 24, 24)
    assert error_with(network, rounded.decoded(), skies) < 0.2**2


def test_values_fit_and_are_the_same_every_time_and_the_network_is_left_alone() -> None:
    network = load_general_network("espcn", scale=3, channels="luma")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = (round_network(network, smooth_pictures(3)[:, :1]) for _ in range(2))
    for name, coded in first.weights.items():
        assert coded.values.dtype == torch.int8
        assert coded.values.abs().max() <= 127
        assert coded.values.shape == before[name].shape
        assert torch.equal(coded.values, second.weights[name].values)
        assert torch.equal(coded.scales, second.weights[name].scales)
    assert all(torch.equal(value, second.biases[name]) for name, value in first.biases.items())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_channel_of_zeros_and_an_input_without_energy_do_no_harm() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    layer.weight.data[1] = 0
    rounded = round_network(nn.Sequential(layer), torch.zeros(1, 2, 8, 8))
    coded = rounded.weights["0.weight"]
    assert coded.values[1].abs().max() == 0
    assert torch.allclose(coded.decoded(), layer.weight, atol=float(coded.scales.max()) / 2)
    assert torch.allclose(rounded.biases["0.bias"], layer.bias)


def test_decoded_weights_are_values_times_their_channels_scale() -> None:
    coded = Int8Weights(
        values=torch.tensor([-127, 5], dtype=torch.int8).reshape(2, 1, 1, 1), scales=torch.tensor([0.5, 0.25])
    )
    assert coded.decoded().flatten().tolist() == [-63.5, 1.25]
