"""Every network architecture, by name: an explicit list."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from models.channels import Channels
from models.edsr import Edsr
from models.espcn import Espcn
from models.srcnn import Srcnn
from models.vdsr import Vdsr
from models.wdsr import Wdsr

SUPPORTED_SCALES = (1, 2, 3, 4)


class UnknownArchitectureError(ValueError):
    """No architecture has this name."""

    def __init__(self, architecture: str) -> None:
        names = ", ".join(known.name for known in ARCHITECTURES)
        super().__init__(f"There is no architecture {architecture!r}; choose one of {names}.")


class UnsupportedScaleError(ValueError):
    """The networks enlarge by 2, 3 or 4, or clean at 1."""

    def __init__(self, scale: int) -> None:
        super().__init__(f"Scale {scale} is not supported; choose one of {SUPPORTED_SCALES}.")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture: how it is called, what it is, how it is built, and whether it trains with weight norm."""

    name: str
    summary: str
    builder: Callable[..., nn.Module]
    weight_norm: bool = False


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(name="espcn", summary="ESPCN: 4 layers, 61k parameters at x2; the cheapest", builder=Espcn),
    Architecture(name="srcnn", summary="SRCNN: 3 layers at the picture's size, 69k parameters", builder=Srcnn),
    Architecture(name="vdsr", summary="VDSR: 20 layers at the picture's size, 668k parameters", builder=Vdsr),
    Architecture(name="edsr", summary="EDSR: 16 blocks x 64 channels, 1.4M parameters at x2", builder=Edsr),
    Architecture(
        name="wdsr",
        summary="WDSR: 16 blocks x 32 channels, expansion 4, 1.2M parameters; the paper's network",
        builder=Wdsr,
        weight_norm=True,
    ),
    Architecture(
        name="vdsr-small",
        summary="VDSR with 8 layers x 32 channels, 57k parameters",
        builder=partial(Vdsr, layers=8, features=32),
    ),
    Architecture(
        name="edsr-small",
        summary="EDSR with 4 blocks x 32 channels, 122k parameters at x2",
        builder=partial(Edsr, blocks=4, features=32),
    ),
    Architecture(
        name="wdsr-small",
        summary="WDSR with 8 blocks x 16 channels, expansion 4, 151k parameters at x2",
        builder=partial(Wdsr, blocks=8, features=16),
        weight_norm=True,
    ),
)

_BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


def find_architecture(name: str) -> Architecture:
    """The architecture of this name.

    Raises:
        UnknownArchitectureError: no architecture has this name.
    """
    if name not in _BY_NAME:
        raise UnknownArchitectureError(name)
    return _BY_NAME[name]


def build_network(architecture: str, *, scale: int, channels: Channels) -> nn.Module:
    """A network with fresh random weights (from torch's global generator) and no weight norm, in training mode.

    Its forward maps (B, C, H, W) float in [0, 1] to (B, C, scale*H, scale*W), not clamped, for any batch and size.
    At scale 1 the fresh network gives exactly what it gets, so that training starts from the decoded picture.

    Raises:
        UnknownArchitectureError: no architecture has this name.
        UnsupportedScaleError: scale is not 1, 2, 3 or 4.
    """
    found = find_architecture(architecture)
    if scale not in SUPPORTED_SCALES:
        raise UnsupportedScaleError(scale)
    return found.builder(scale=scale, channels=channels)
