"""Round a network's weights to int8 so that what they do to this video's pictures hardly changes.

Rounding each weight for itself costs a small network several dB: it carries the whole picture through its weights, and
their errors add up. GPTQ (Frantar et al., ICLR 2023, after the Optimal Brain Surgeon of Hassibi and Stork, 1993) rounds
one weight after another and moves those still to be rounded so that the layer's output stays as near as it can, given
which inputs go together. It takes seconds, needs no training, and leaves the float32 network as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.weight_coding import INT8_LIMIT, Int8Weights, int8_steps

_SAMPLE_STRIDE = 3
"""Every third position in each direction is looked at: neighbours tell the same."""
_DAMPING = 1e-4
"""Keeps rarely used inputs from being moved far; a share of the mean input energy."""


def round_network(network: nn.Module, pictures: Tensor) -> dict[str, Int8Weights]:
    """Round every convolution of the network.

    Args:
        network: plain, without weight norm, on the device of `pictures`. It is not changed.
        pictures: (B, C, H, W) float32 in [0, 1], typical of what the network will see.

    Returns:
        By the weights' names in the network's state.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    energies = _input_energies(network, layers, pictures)
    return {f"{name}.weight": round_layer(layer.weight.detach(), energies[name]) for name, layer in layers.items()}


def round_layer(weights: Tensor, energy: Tensor) -> Int8Weights:
    """Round one convolution.

    Args:
        weights: (out, in, height, width) float32.
        energy: (n, n) float64, n = in * height * width: mean products of the inputs under the filter.
    """
    steps = int8_steps(weights)
    count = len(energy)
    # The loudest inputs first: their errors are made up for while there are still weights left to do it with.
    order = torch.argsort(energy.diagonal(), descending=True, stable=True)
    damped = energy[order][:, order] + torch.eye(count).to(energy) * (_DAMPING * energy.diagonal().mean() or 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = weights.flatten(1).double()[:, order]
    rounded = torch.empty_like(left)
    scale = steps.double()
    for place in range(count):
        wanted = left[:, place]
        rounded[:, place] = torch.round(wanted / scale).clamp(-INT8_LIMIT, INT8_LIMIT)
        error = (wanted - rounded[:, place] * scale) / factor[place, place]
        left[:, place + 1 :] -= torch.outer(error, factor[place, place + 1 :])
    values = torch.empty_like(rounded)
    values[:, order] = rounded
    return Int8Weights(values=values.reshape(weights.shape).to(torch.int8).cpu(), steps=steps.cpu())


@torch.inference_mode()
def _input_energies(network: nn.Module, layers: dict[str, nn.Conv2d], pictures: Tensor) -> dict[str, Tensor]:
    """Of every layer, as `round_layer` wants it."""
    energies: dict[str, Tensor] = {}

    def hook(name: str, layer: nn.Conv2d) -> torch.utils.hooks.RemovableHandle:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = F.unfold(inputs[0], layer.kernel_size, padding=layer.padding, stride=_SAMPLE_STRIDE)  # type: ignore[arg-type]
            energy = (seen @ seen.transpose(1, 2)).sum(dim=0).double() / (seen.shape[2] * len(pictures))
            energies[name] = energies[name] + energy if name in energies else energy

        return layer.register_forward_pre_hook(add)

    handles = [hook(name, layer) for name, layer in layers.items()]
    try:
        # One by one: the inputs under every filter position take many times the picture's memory.
        for picture in torch.split(pictures, 1):
            network(picture)
    finally:
        for handle in handles:
            handle.remove()
    return energies
