"""A luma network from an RGB one, without training."""

import torch
from torch import Tensor, nn

from models.registry import build_network

BT709_LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)


class NotThisRgbNetworkError(ValueError):
    """The network given is not the plain RGB network of the architecture and scale named."""

    def __init__(self, *, architecture: str, scale: int) -> None:
        super().__init__(
            f"The network's weights are not those of a plain RGB {architecture} x{scale}; "
            "name its own architecture and scale, and fold weight norm first."
        )


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
        NotThisRgbNetworkError: rgb_network is not the plain (folded) RGB network of this architecture and scale.
    """
    rgb_state = rgb_network.state_dict()
    if _shapes(rgb_state) != _shapes(build_network(architecture, scale=scale, channels="rgb").state_dict()):
        raise NotThisRgbNetworkError(architecture=architecture, scale=scale)
    luma_network = build_network(architecture, scale=scale, channels="luma")
    folded = {
        key: _fold(rgb_state[key], like=value, luma_weights=luma_weights)
        for key, value in luma_network.state_dict().items()
    }
    luma_network.load_state_dict(folded)
    return luma_network.eval()


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _fold(tensor: Tensor, *, like: Tensor, luma_weights: tuple[float, float, float]) -> Tensor:
    """Sum a layer's tensor over RGB inputs and RGB outputs, where the luma network has fewer of them."""
    folded = tensor.detach().double()
    if folded.ndim == 4 and folded.shape[1] != like.shape[1]:
        folded = folded.sum(dim=1, keepdim=True)
    if folded.shape[0] != like.shape[0]:
        # Pixel shuffle keeps the outputs of one colour together, so that the colour is the slower of the two axes.
        by_colour = folded.reshape(3, like.shape[0], *folded.shape[1:])
        weights = torch.tensor(luma_weights, dtype=torch.float64, device=tensor.device)
        folded = torch.tensordot(weights, by_colour, dims=1)
    return folded.to(like.dtype)
