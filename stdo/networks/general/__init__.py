"""The general networks f0 as clients run them: ONNX files with float16 weights, named by the SHA-256 of the file.

`python -m pretraining export-general` writes the files and the index beside this module from models/weights.
A released f0 is never taken away, since bundles name it for good: a better one is added beside it.

At scale 1 f0 changes nothing, and needs no file: a patch that nothing better restores is marked as decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stdo.bundle.manifest import Channels, Scale

_FOLDER = Path(__file__).parent
INDEX = _FOLDER / "index.json"
"""A list of the networks, the latest of each kind last."""


@dataclass(frozen=True, kw_only=True)
class GeneralNetwork:
    """One general network."""

    architecture: str
    """Such as `espcn`."""
    scale: Scale
    channels: Channels
    sha256: str
    """Of the file; its name in manifests."""
    path: Path

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> GeneralNetwork:
        """An entry of the index."""
        return cls(**{**entry, "path": _FOLDER / entry["path"]})


GENERAL: Mapping[str, GeneralNetwork] = {
    entry["sha256"]: GeneralNetwork.of(entry) for entry in json.loads(INDEX.read_text(encoding="utf-8"))
}
"""Every general network that was ever released, by the SHA-256 of its file."""


def general_network(architecture: str, scale: int, channels: Channels) -> GeneralNetwork | None:
    """The latest general network of a kind, or None where there is none."""
    wanted = (architecture, scale, channels)
    found = [network for network in GENERAL.values() if _kind(network) == wanted]
    return found[-1] if found else None


def _kind(network: GeneralNetwork) -> tuple[str, int, Channels]:
    return network.architecture, network.scale, network.channels
