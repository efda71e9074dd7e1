"""Write the general networks in the client's form, ONNX with float16 weights, into stdo/networks/general."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.channels import Channels
from models.general import GENERAL_NETWORKS, load_general_network
from workers.delivery.onnx_graph import network_to_onnx

_LUMA_FORMS = ("espcn",)
"""Architectures small enough that their luma form, folded from the RGB one, is delivered too."""


def export_general(folder: Path) -> list[Path]:
    """Add the networks of models/weights to the folder and its index; what is there already stays.

    Returns:
        The files that are new.
    """
    index_path = folder / "index.json"
    index: list[dict[str, Any]] = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else []
    known = {entry["sha256"] for entry in index}
    new = []
    for architecture, scale, channels, data in client_forms():
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            continue
        path = folder / f"{architecture}-x{scale}-{channels}-{sha256[:8]}.onnx"
        path.write_bytes(data)
        new.append(path)
        index.append(
            {"architecture": architecture, "scale": scale, "channels": channels, "sha256": sha256, "path": path.name}
        )
    index_path.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return new


def client_forms() -> Iterator[tuple[str, int, Channels, bytes]]:
    """Architecture, scale, channels and ONNX file of each network that clients get."""
    forms: tuple[Channels, ...] = ("rgb", "luma")
    for channels in forms:
        for architecture, scale in GENERAL_NETWORKS:
            if channels == "rgb" or architecture in _LUMA_FORMS:
                network = load_general_network(architecture, scale=scale, channels=channels)
                yield architecture, scale, channels, network_to_onnx(network, channels=channels, precision="fp16")
