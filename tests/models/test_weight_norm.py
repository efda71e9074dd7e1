"""Weight norm changes how weights are stored and trained, never what the network computes."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from models.cost import parameter_count
from models.registry import build_network
from models.weight_norm import add_weight_norm, fold_weight_norm

WEIGHT_NORMED_PARAMETERS = {2: 1_190_100, 3: 1_195_605, 4: 1_203_312}


def _output(network: nn.Module, picture: Tensor) -> Tensor:
    with torch.no_grad():
        return network(picture)


@pytest.mark.parametrize("scale", WEIGHT_NORMED_PARAMETERS)
def test_wdsr_has_the_published_parameter_count_under_weight_norm(scale: int) -> None:
    network = build_network("wdsr", scale=scale, channels="rgb")
    add_weight_norm(network)
    assert parameter_count(network) == WEIGHT_NORMED_PARAMETERS[scale]


@pytest.mark.parametrize("architecture", ["wdsr", "wdsr-small"])
def test_adding_and_folding_keep_the_output(architecture: str) -> None:
    network = build_network(architecture, scale=2, channels="rgb")
    keys = list(network.state_dict())
    picture = torch.rand(1, 3, 24, 20)
    plain = _output(network, picture)
    add_weight_norm(network)
    assert _output(network, picture).sub(plain).abs().max() < 1e-5
    folded = fold_weight_norm(network)
    assert _output(folded, picture).sub(plain).abs().max() < 1e-5
    assert list(folded.state_dict()) == keys


def test_folding_after_training_keeps_what_was_learnt() -> None:
    network = build_network("wdsr-small", scale=2, channels="rgb")
    picture = torch.rand(2, 3, 12, 12)
    untrained = _output(network, picture)
    add_weight_norm(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        network(picture).square().mean().backward()
        optimizer.step()
    trained = _output(network, picture)
    assert _output(fold_weight_norm(network), picture).sub(trained).abs().max() < 1e-5
    assert trained.sub(untrained).abs().max() > 0.01


def test_a_network_trains_on_after_a_copy_of_it_was_folded() -> None:
    network = build_network("wdsr-small", scale=2, channels="rgb")
    add_weight_norm(network)
    picture = torch.rand(1, 3, 12, 12)
    before = _output(network, picture)
    folded = fold_weight_norm(copy.deepcopy(network))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    network(picture).square().mean().backward()
    optimizer.step()
    assert _output(network, picture).sub(before).abs().max() > 1e-3
    assert _output(folded, picture).sub(before).abs().max() < 1e-5


def test_fresh_wdsr_starts_with_the_gains_of_its_recipe() -> None:
    network = build_network("wdsr", scale=4, channels="rgb")
    add_weight_norm(network)
    gains = {
        name.removesuffix(".parametrizations.weight.original0"): value
        for name, value in network.named_parameters()
        if name.endswith("original0")
    }
    assert len(gains) == 2 * 16 + 3
    for layer, gain in gains.items():
        expected = 1 / math.sqrt(16) if layer.endswith(".project") else 1.0
        assert gain.flatten().tolist() == pytest.approx([expected] * gain.numel(), rel=1e-5), layer


def test_folding_a_plain_network_gives_an_equal_copy() -> None:
    network = build_network("espcn", scale=2, channels="rgb")
    folded = fold_weight_norm(network)
    assert folded is not network
    assert all(torch.equal(value, folded.state_dict()[key]) for key, value in network.state_dict().items())


def test_filters_of_zeros_stay_zeros_until_they_are_trained() -> None:
    network, other = (build_network("wdsr-small", scale=1, channels="rgb") for _ in range(2))
    picture = torch.rand(1, 3, 12, 10)
    for each in (network, other):
        add_weight_norm(each)
    assert torch.equal(_output(network, picture), picture)
    network(picture).square().mean().backward()
    gradient = network.get_parameter("tail.parametrizations.weight.original0").grad
    assert gradient is not None
    assert gradient.abs().min() > 0
    assert torch.equal(
        network.get_parameter("tail.parametrizations.weight.original1"),
        other.get_parameter("tail.parametrizations.weight.original1"),
    )
    assert not fold_weight_norm(network).get_parameter("skip.weight").any()
