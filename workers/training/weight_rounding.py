"""Round a network's weights to int8 so that what they do to this video's pictures hardly changes.

Rounding each weight for itself costs a small network several dB: it carries the whole picture through its weights, and
their errors add up. GPTQ (Frantar et al., ICLR 2023, after the Optimal Brain Surgeon of Hassibi and Stork, 1993) rounds
one weight after another and moves those still to be rounded so that the layer's output stays as near as it can, given
which inputs go together. Here layer after layer is rounded, each one fitted to make its own output out of what the
rounded layers before it deliver, and the bias, which stays float32, comes last and takes what is left. That takes
seconds, needs no training, and leaves the float32 network as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Precision = Literal["int8", "fp16", "fp32"]
INT8_LIMIT = 127
_SAMPLE_STRIDE = 3
"""Every third position in each direction is looked at: neighbours tell the same."""
_DAMPING = 1e-4
"""Keeps rarely used inputs from being moved far; a share of the mean input energy."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Weights:
    """A convolution's weights as whole numbers, times one quantisation scale for each output channel."""

    values: Tensor
    """(out, in, height, width) int8, -127 to 127"""
    scales: Tensor
    """(out,) float32"""

    def decoded(self) -> Tensor:
        """What ONNX's DequantizeLinear makes of them: float32."""
        return self.values.float() * self.scales[:, None, None, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundedNetwork:
    """A network's convolutions as they are delivered in int8."""

    weights: dict[str, Int8Weights]
    """By their names in the network's state."""
    biases: dict[str, Tensor]
    """The float32 biases that go with the rounded weights, likewise."""

    def decoded(self) -> dict[str, Tensor]:
        """All of it in float32, by the names in the network's state."""
        return {name: coded.decoded() for name, coded in self.weights.items()} | self.biases


@torch.inference_mode()
def round_network(network: nn.Module, pictures: Tensor) -> RoundedNetwork:
    """Round every convolution of the network.

    Args:
        network: plain, without weight norm, on the device of `pictures`; its convolutions have biases. Not changed.
        pictures: (B, C, H, W) float32 in [0, 1], typical of what the network will see.
    """
    rounded = copy.deepcopy(network)
    weights, biases = {}, {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            twin = rounded.get_submodule(name)
            energy, crossing = _input_energies((network, layer), (rounded, twin), pictures)
            coded, bias = _round_layer(layer, energy, crossing)
            twin.load_state_dict({"weight": coded.decoded(), "bias": bias})
            weights[f"{name}.weight"], biases[f"{name}.bias"] = coded, bias.cpu()
    return RoundedNetwork(weights=weights, biases=biases)


def _round_layer(layer: nn.Conv2d, energy: Tensor, crossing: Tensor) -> tuple[Int8Weights, Tensor]:
    """Round one convolution, with what `_input_energies` says of it: its weights, and the bias that goes with them."""
    assert layer.bias is not None
    shape = layer.weight.shape
    left = torch.cat([layer.weight.flatten(1), layer.bias[:, None]], dim=1).double()
    damping = torch.eye(len(energy)).to(energy) * (_DAMPING * energy.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(energy + damping))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = left @ (crossing + damping) @ inverse
    scales = int8_scales(left[:, :-1].reshape(shape))
    exact = scales.double()
    rounded = torch.empty_like(left[:, :-1])
    for place in range(rounded.shape[1]):
        rounded[:, place] = torch.round(left[:, place] / exact).clamp(-INT8_LIMIT, INT8_LIMIT)
        error = (left[:, place] - rounded[:, place] * exact) / factor[place, place]
        left[:, place + 1 :] -= torch.outer(error, factor[place, place + 1 :])
    return Int8Weights(values=rounded.reshape(shape).to(torch.int8).cpu(), scales=scales.cpu()), left[:, -1].float()


def _input_energies(
    original: tuple[nn.Module, nn.Module], rounded: tuple[nn.Module, nn.Module], pictures: Tensor
) -> tuple[Tensor, Tensor]:
    """What goes into a convolution, and how that goes together.

    Args:
        original, rounded: a network, and the convolution in it.

    Returns:
        Two of (n + 1, n + 1) float64: mean products of the inputs under the filter and of a 1 for the bias, those of
        the rounded network with each other, and those of the original network (rows) with those of the rounded one.
    """
    energy = crossing = torch.zeros(())
    # One by one: the inputs under every filter position take many times the picture's memory.
    for picture in torch.split(pictures, 1):
        before, now = _inputs(*original, picture), _inputs(*rounded, picture)
        energy = energy.to(now) + now @ now.T / (now.shape[1] * len(pictures))
        crossing = crossing.to(now) + before @ now.T / (now.shape[1] * len(pictures))
    return energy, crossing


def _inputs(network: nn.Module, layer: nn.Module, picture: Tensor) -> Tensor:
    """(n + 1, positions) float64: what the convolution has under its filter, and a 1 for the bias."""
    with _listening(layer) as heard:
        network(picture)
    seen = F.unfold(heard[0], layer.kernel_size, padding=layer.padding, stride=_SAMPLE_STRIDE)[0].double()  # type: ignore[arg-type]
    return F.pad(seen, (0, 0, 0, 1), value=1.0)


@contextmanager
def _listening(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The pictures that go into a layer while this lasts."""
    heard: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    try:
        yield heard
    finally:
        handle.remove()


def int8_scales(weights: Tensor) -> Tensor:
    """The quantisation scale of each output channel, (out,) float32: the channel's largest weight is 127 of it."""
    largest = weights.detach().abs().amax(dim=(1, 2, 3))
    # A channel of zeros has no scale of its own; any will do.
    return torch.where(largest > 0, largest / INT8_LIMIT, torch.ones_like(largest)).float()
