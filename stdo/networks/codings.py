"""How networks are delivered: one table, from the name of a coding to what makes an upscaler of it.

The client runs bundles by this table, and the service measures them by it. A new coding is a file of its own, a row
here, its name in stdo.bundle.manifest_reader, and its words in docs/FORMAT.md, section 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stdo.bundle.manifest import Network
from stdo.errors import NetworkError, UnsupportedCodingError
from stdo.networks.general import GENERAL
from stdo.networks.upscale import CPU_PROVIDERS, OnnxUpscaler, Upscaler


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How networks are run."""

    threads: int = 0
    """Processor threads of one network; 0 is one for each core."""
    providers: tuple[str, ...] = CPU_PROVIDERS
    """ONNX Runtime's execution providers, the preferred one first."""


@dataclass(frozen=True, kw_only=True)
class Coding:
    """One way in which a network is delivered."""

    reads_file: Callable[[Network], bool]
    """Whether the network's own file is needed."""
    open: Callable[[Network, bytes | None, int, RunOptions], Upscaler]
    """Makes an upscaler of the manifest's entry, the file's bytes (None where it isn't needed or not there), the
    scale, and how to run it."""


def open_network(network: Network, data: bytes | None, *, scale: int, run: RunOptions) -> Upscaler:
    """A delivered network, ready to run.

    Args:
        network: its entry in the manifest, whose coding is a known one.
        data: its file, verified; None where the bundle doesn't carry it, or `reads_file` says that nobody needs it.

    Raises:
        NetworkError: it can't be loaded.
        UnsupportedCodingError: it is a general network that this package doesn't have.
    """
    return CODINGS[network.coding].open(network, data, scale, run)


def reads_file(network: Network) -> bool:
    """Whether a network's own file is needed to open it here."""
    return CODINGS[network.coding].reads_file(network)


def _open_onnx(network: Network, data: bytes | None, scale: int, run: RunOptions) -> Upscaler:
    assert data is not None
    return OnnxUpscaler(data, scale=scale, channels=network.channels, threads=run.threads, providers=run.providers)


def _open_general(network: Network, data: bytes | None, scale: int, run: RunOptions) -> Upscaler:
    """From this package, or from the copy in the bundle."""
    known = GENERAL.get(network.general_sha256 or "")
    if known is not None:
        data = known.path.read_bytes()
    if data is None:
        raise UnsupportedCodingError(
            f"The bundle uses the general network {network.general_sha256}, which this package doesn't have. "
            "Update the stdo package."
        )
    if hashlib.sha256(data).hexdigest() != network.general_sha256:
        raise NetworkError(f"The file of the general network {network.general_sha256} is another one.")
    return _open_onnx(network, data, scale, run)


def _is_foreign(network: Network) -> bool:
    return network.general_sha256 not in GENERAL


CODINGS: Mapping[str, Coding] = {
    "onnx": Coding(reads_file=lambda _: True, open=_open_onnx),
    "general": Coding(reads_file=_is_foreign, open=_open_general),
}
"""By the names in manifests."""
