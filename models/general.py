"""The general networks f0 that are shipped with the project, trained on photographs (weights/MODEL_CARD.md).

At scale 1 there are no files: until one is trained, f0 is a fresh network there, which gives exactly what it gets.
"""

import hashlib
from pathlib import Path

import torch
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

GENERAL_NETWORK_HALO = 4
"""Real neighbours around a patch, in pixels of the base frame, that the general networks are trained and run with."""

_IDENTITY_SEED = 0


class NoGeneralNetworkError(LookupError):
    """No general network of this architecture and scale is shipped."""

    def __init__(self, *, architecture: str, scale: int) -> None:
        shipped = ", ".join(f"{name} x{size}" for name, size in GENERAL_NETWORKS)
        super().__init__(f"No general network is shipped for {architecture} x{scale}; there are {shipped}.")


def load_general_network(architecture: str, *, scale: int, channels: Channels) -> nn.Module:
    """The general network f0, without weight norm, in eval mode, on the CPU, in float32.

    The luma form is folded from the RGB one: for a grey picture it gives the same luma (`models.luma`).

    Raises:
        NoGeneralNetworkError: there is none for this architecture and scale.
    """
    rgb_network = _rgb_network(architecture, scale)
    if channels == "luma":
        return luma_from_rgb(rgb_network, architecture, scale=scale)
    return rgb_network


def general_network_sha256(architecture: str, scale: int) -> str:
    """SHA-256 of the network's weights as safetensors, in hexadecimal: names exactly which f0 was used.

    Raises:
        NoGeneralNetworkError: there is none for this architecture and scale.
    """
    return hashlib.sha256(_weights(architecture, scale)).hexdigest()


def load_weights(path: Path, *, architecture: str, scale: int) -> nn.Module:
    """An RGB network with the weights of a safetensors file, in eval mode."""
    network = build_network(architecture, scale=scale, channels="rgb")
    network.load_state_dict(load_file(path))
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the network's weights as safetensors; a reader never sees half a file."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(_written(network))
    unfinished.replace(path)


def weights_file_name(architecture: str, scale: int) -> str:
    """The name of a general network's file."""
    return f"{architecture}_x{scale}.safetensors"


def _rgb_network(architecture: str, scale: int) -> nn.Module:
    if scale == 1:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_IDENTITY_SEED)
            return build_network(architecture, scale=scale, channels="rgb").eval()
    return load_weights(_weights_file(architecture, scale), architecture=architecture, scale=scale)


def _weights(architecture: str, scale: int) -> bytes:
    if scale == 1:
        return _written(_rgb_network(architecture, scale))
    return _weights_file(architecture, scale).read_bytes()


def _written(network: nn.Module) -> bytes:
    return save({key: value.contiguous() for key, value in network.state_dict().items()})


def _weights_file(architecture: str, scale: int) -> Path:
    if (architecture, scale) not in GENERAL_NETWORKS:
        raise NoGeneralNetworkError(architecture=architecture, scale=scale)
    return _WEIGHTS / weights_file_name(architecture, scale)
