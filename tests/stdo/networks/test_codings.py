"""The table of codings, and the general networks in the package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import stdo
from models.general import load_general_network
from pretraining.export_general import client_forms, export_general
from stdo.bundle.geometry import Image
from stdo.bundle.manifest import Channels, FileEntry, Network
from stdo.bundle.manifest_reader import KNOWN_CODINGS
from stdo.errors import NetworkError, UnsupportedCodingError
from stdo.networks.codings import CODINGS, RunOptions, open_network, reads_file
from stdo.networks.general import GENERAL, INDEX, general_network
from stdo.networks.onnx_profile import check_profile
from tests.stdo.bundles import nearest_network, write_small_bundle

ONE_THREAD = RunOptions(threads=1)


def _network(coding: str, data: bytes, *, has_file: bool, channels: Channels = "rgb") -> Network:
    sha256 = hashlib.sha256(data).hexdigest()
    return Network(
        coding=coding,
        file=FileEntry(path="networks/0.onnx", byte_count=len(data), sha256=sha256) if has_file else None,
        general_sha256=sha256 if coding == "general" else None,
        channels=channels,
        receptive_radius=4,
        difficulty_rank=0,
        architecture="espcn",
        precision="fp16",
        parameter_count=1,
        multiply_accumulates_per_base_pixel=1.0,
    )


def _patches() -> Image:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)


def test_table_has_the_codings_of_the_manifest() -> None:
    assert tuple(CODINGS) == KNOWN_CODINGS


def test_onnx_runs_the_file() -> None:
    data = nearest_network(3)
    network = _network("onnx", data, has_file=True)
    assert reads_file(network)
    upscaler = open_network(network, data, scale=3, run=ONE_THREAD)
    expected = _patches().repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(upscaler(_patches(), base_bit_depth=8, bit_depth=8), expected)


def test_general_needs_no_file() -> None:
    known = general_network("espcn", 2, "rgb")
    assert known is not None
    network = _network("general", known.path.read_bytes(), has_file=True)
    assert not reads_file(network)
    restored = open_network(network, None, scale=2, run=ONE_THREAD)(_patches(), base_bit_depth=8, bit_depth=8)
    with torch.inference_mode():
        samples = torch.from_numpy(_patches()).permute(0, 3, 1, 2).float() / 255
        exact = load_general_network("espcn", scale=2, channels="rgb")(samples).permute(0, 2, 3, 1).numpy() * 255
    # The weights are rounded to float16, the samples to whole levels.
    assert np.abs(restored - np.clip(exact, 0, 255)).max() < 0.75


def test_general_network_of_another_release_comes_from_the_bundle() -> None:
    data = nearest_network(2)
    network = _network("general", data, has_file=True)
    assert reads_file(network)
    upscaler = open_network(network, data, scale=2, run=ONE_THREAD)
    assert upscaler(_patches(), base_bit_depth=8, bit_depth=8).shape == (2, 18, 14, 3)
    with pytest.raises(UnsupportedCodingError, match="Update the stdo package"):
        open_network(_network("general", data, has_file=False), None, scale=2, run=ONE_THREAD)
    with pytest.raises(NetworkError, match="is another one"):
        open_network(network, nearest_network(2, "luma"), scale=2, run=ONE_THREAD)


def test_bundle_fetches_no_copy_of_a_known_general_network(tmp_path: Path) -> None:
    known = general_network("espcn", 2, "rgb")
    assert known is not None
    network = _network("general", known.path.read_bytes(), has_file=True)
    # The copy that the manifest names isn't there at all.
    folder = write_small_bundle(tmp_path, networks=[network])
    with stdo.open_bundle(folder) as bundle:
        assert len(list(stdo.reconstruct(bundle))) == 5


def test_general_networks_are_small_and_inside_of_the_profile() -> None:
    files = sorted(INDEX.parent.glob("*.onnx"))
    assert sorted(network.path for network in GENERAL.values()) == files
    assert sum(path.stat().st_size for path in files) < 2_000_000
    for sha256, network in GENERAL.items():
        data = network.path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256 == network.sha256
        check_profile(data)


def test_general_networks_are_those_of_the_models() -> None:
    """Same graphs, and weights that differ by the rounding of folding and float16 at most."""
    made = list(client_forms())
    assert len(made) == 9
    for architecture, scale, channels, data in made:
        known = general_network(architecture, scale, channels)
        assert known is not None
        ours, theirs = onnx.load_from_string(data), onnx.load(known.path)
        assert ours.graph.node == theirs.graph.node
        for weights, expected in zip(ours.graph.initializer, theirs.graph.initializer, strict=True):
            values = numpy_helper.to_array(weights), numpy_helper.to_array(expected)
            np.testing.assert_allclose(*values, rtol=2e-3, atol=1e-6)


def test_there_is_no_general_network_of_other_kinds() -> None:
    assert general_network("espcn", 1, "rgb") is None
    assert general_network("wdsr-small", 2, "luma") is None
    assert general_network("vdsr", 2, "rgb") is None


def test_export_adds_to_what_is_there_and_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"architecture": "espcn", "scale": 2, "channels": "rgb", "sha256": "0" * 64, "path": "old.onnx"}
    (tmp_path / "old.onnx").write_bytes(b"an older release")
    (tmp_path / "index.json").write_text(json.dumps([old]), encoding="utf-8")
    better = [("espcn", 2, "rgb", b"a better one"), ("espcn", 3, "luma", b"another")]
    monkeypatch.setattr("pretraining.export_general.client_forms", lambda: iter(better))
    new = export_general(tmp_path)
    assert [path.read_bytes() for path in new] == [b"a better one", b"another"]
    index = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert index[0] == old
    assert [tmp_path / entry["path"] for entry in index[1:]] == new
    assert (tmp_path / "old.onnx").read_bytes() == b"an older release"
    assert export_general(tmp_path) == []
