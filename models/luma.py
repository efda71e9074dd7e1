"""A luma network from an RGB one, without training."""

import torch
from torch import Tensor, nn

from models.channels import Channels
from models.registry import build_network

BT709_LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)


class ChannelMismatchError(ValueError):
    """A tensor of the RGB network has no counterpart of the expected shape in the luma network."""

    def __init__(self, *, key: str, rgb_shape: torch.Size, luma_shape: torch.Size) -> None:
        super().__init__(f"{key}: cannot fold {tuple(rgb_shape)} to {tuple(luma_shape)}; pass the network's own RGB form.")


def luma_from_rgb(
    rgb_network: nn.Module,
    architecture: str,
    *,
    scale: int,
    luma_weights: tuple[float, float, float] = BT709_LUMA_WEIGHTS,
) -> nn.Module:
    """The luma network that gives, for a grey picture, the luma of what the RGB network gives.

    Both ends of every network are linear, so that this is exact: layers that read the picture sum over their input
    channels (a grey picture has three equal ones), layers that write it take the luma-weighted sum of their outputs.
    luma_weights (kr, kg, kb) must sum to 1. The network is in eval mode.

    Raises:
        ChannelMismatchError: rgb_network is not the plain (folded) RGB network of this architecture and scale.
    """
    channels: Channels = "luma"
    luma_network = build_network(architecture, scale=scale, channels=channels)
    rgb_state = rgb_network.state_dict()
    folded = {
        key: _fold(key, rgb_state[key], like=value, luma_weights=luma_weights)
        for key, value in luma_network.state_dict().items()
    }
    luma_network.load_state_dict(folded)
    return luma_network.eval()


def _fold(key: str, tensor: Tensor, *, like: Tensor, luma_weights: tuple[float, float, float]) -> Tensor:
    """Sum a layer's tensor over RGB inputs and RGB outputs until it has the shape of the luma network's."""
    folded = tensor.detach().double()
    if folded.ndim == 4 and folded.shape[1] == 3 * like.shape[1]:
        folded = folded.sum(dim=1, keepdim=True)
    if folded.shape[0] == 3 * like.shape[0]:
        # Pixel shuffle keeps the outputs of one colour together, so that the colour is the slower of the two axes.
        by_colour = folded.reshape(3, like.shape[0], *folded.shape[1:])
        folded = torch.tensordot(torch.tensor(luma_weights, dtype=torch.float64), by_colour, dims=1)
    if folded.shape != like.shape:
        raise ChannelMismatchError(key=key, rgb_shape=tensor.shape, luma_shape=like.shape)
    return folded.to(like.dtype)
