"""The general networks f0 that are shipped with the project, trained on photographs (weights/MODEL_CARD.md)."""

import hashlib
from pathlib import Path

from safetensors.torch import load_file, save
from torch import nn

from models.channels import Channels
from models.luma import luma_from_rgb
from models.registry import build_network

_WEIGHTS = Path(__file__).parent / "weights"

GENERAL_NETWORKS: tuple[tuple[str, int], ...] = (
    ("espcn", 2),
    ("espcn", 3),
    ("espcn", 4),
    ("wdsr-small", 2),
    ("wdsr-small", 3),
    ("wdsr-small", 4),
)
"""(architecture, scale) of every file in weights/."""


class NoGeneralNetworkError(LookupError):
    """No general network of this architecture and scale is shipped."""

    def __init__(self, *, architecture: str, scale: int) -> None:
        shipped = ", ".join(f"{name} x{size}" for name, size in GENERAL_NETWORKS)
        super().__init__(f"No general network is shipped for {architecture} x{scale}; there are {shipped}.")


def has_general_network(architecture: str, scale: int) -> bool:
    """Whether a general network of this architecture and scale is shipped."""
    return (architecture, scale) in GENERAL_NETWORKS


def load_general_network(architecture: str, *, scale: int, channels: Channels) -> nn.Module:
    """The general network f0, without weight norm, in eval mode, on the CPU, in float32.

    The luma form is folded from the RGB one: for a grey picture it gives the same luma (`models.luma`).

    Raises:
        NoGeneralNetworkError: none is shipped for this architecture and scale.
    """
    rgb_network = load_weights(_weights_file(architecture, scale), architecture=architecture, scale=scale)
    if channels == "luma":
        return luma_from_rgb(rgb_network, architecture, scale=scale)
    return rgb_network


def general_network_sha256(architecture: str, scale: int) -> str:
    """SHA-256 of the shipped weights file, in hexadecimal: names exactly which f0 was used.

    Raises:
        NoGeneralNetworkError: none is shipped for this architecture and scale.
    """
    return hashlib.sha256(_weights_file(architecture, scale).read_bytes()).hexdigest()


def load_weights(path: Path, *, architecture: str, scale: int) -> nn.Module:
    """An RGB network with the weights of a safetensors file, in eval mode."""
    network = build_network(architecture, scale=scale, channels="rgb")
    network.load_state_dict(load_file(path))
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the network's weights as safetensors; a reader never sees half a file."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(save({key: value.contiguous() for key, value in network.state_dict().items()}))
    unfinished.replace(path)


def weights_file_name(architecture: str, scale: int) -> str:
    """The name of a general network's file."""
    return f"{architecture}_x{scale}.safetensors"


def _weights_file(architecture: str, scale: int) -> Path:
    if not has_general_network(architecture, scale):
        raise NoGeneralNetworkError(architecture=architecture, scale=scale)
    return _WEIGHTS / weights_file_name(architecture, scale)
