"""Bundles from folders: nothing is used before its hash was checked."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import stdo
from stdo.bundle.manifest import Network, strip_manifest
from stdo.bundle.patch_index import AS_DECODED, encode_segment
from stdo.bundle.segments import encode_segment_table
from stdo.errors import BundleNotFoundError, DamagedBundleError, MalformedPatchIndexError, MalformedSegmentTableError
from tests.stdo.bundle.conftest import flip_a_bit
from tests.stdo.bundles import sharpening_network, write_small_bundle


def rewrite(folder: Path, path: str, data: bytes, *keys: str | int) -> None:
    """Put other bytes into a file, and their hash into the manifest."""
    (folder / path).write_bytes(data)
    document = json.loads((folder / "manifest.json").read_bytes())
    entry: Any = document
    for key in keys:
        entry = entry[key]
    entry.update(byte_count=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("name", ["", "manifest.json"])
def test_bundle_opens_by_its_folder_or_its_manifest(name: str, folder: Path) -> None:
    with stdo.open_bundle(str(folder / name)) as bundle:
        assert bundle.manifest.bundle_id == "test-bundle"
        assert len(bundle.manifest_bytes) == (folder / "manifest.json").stat().st_size
        assert bundle.path(bundle.manifest.base_stream) == folder / "base.mp4"
        assert bundle.layout.picture == bundle.manifest.picture
        assert bundle.layout.base_bit_depth == 8


@pytest.mark.parametrize("place", ["nowhere", "bundle/base.mp4"])
def test_place_without_a_bundle_is_refused(place: str, folder: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"There is no bundle in .*manifest\.json can't be read"):
        stdo.open_bundle(folder.parent / place)


def test_segments_hold_the_frames(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        assert [bundle.segment_frames(segment) for segment in bundle.segments] == [range(2), range(2, 4), range(4, 5)]
        assert [segment.time_ticks for segment in bundle.segments] == [0, 1024, 2048]
        assert [bundle.numbers(segment).shape for segment in bundle.segments] == [(2, 9), (2, 9), (1, 9)]
        whole = np.concatenate([bundle.numbers(segment) for segment in bundle.segments])
    np.testing.assert_array_equal(whole, np.random.default_rng(7).integers(0, 2, (5, 9), dtype=np.uint8))


def test_header_and_any_segment_are_a_video(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        parts = [bundle.segment_bytes(segment) for segment in bundle.segments]
        assert bundle.header_bytes() + b"".join(parts) == (folder / "base.mp4").read_bytes()
        for part, pts in zip(parts, ([0, 512], [1024, 1536], [2048]), strict=True):
            with av.open(io.BytesIO(bundle.header_bytes() + part), format="mp4") as video:
                assert [frame.pts for frame in video.decode(video=0)] == pts


def test_network_is_read_where_the_bundle_carries_it(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        first = bundle.manifest.networks[0]
        assert bundle.network_bytes(first) == (folder / "networks" / "0.onnx").read_bytes()
        general = first.model_copy(update={"coding": "general", "file": None, "general_sha256": "a" * 64})
        assert bundle.network_bytes(general) is None


def test_untouched_bundle_verifies(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        checks = list(bundle.verify())
    assert [check.file.path for check in checks] == [
        "segments.bin",
        "base.m3u8",
        "networks/0.onnx",
        "networks/1.onnx",
        "index.bin",
        "base.mp4",
        "quality/report.json",
    ]
    assert [check.problem for check in checks] == [None] * 7


def test_stripped_copy_without_the_reports_verifies(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        stripped = strip_manifest(bundle.manifest)
    shutil.rmtree(folder / "quality")
    with stdo.open_bundle(folder) as bundle:
        assert [check.file.path for check in bundle.verify() if check.problem] == []
    (folder / "manifest.json").write_bytes(stripped)
    with stdo.open_bundle(folder) as bundle:
        assert bundle.manifest.quality is None
        assert [check.problem for check in bundle.verify()] == [None] * 6


def test_bundle_without_networks_verifies(tmp_path: Path) -> None:
    with stdo.open_bundle(write_small_bundle(tmp_path / "plain", networks=[])) as bundle:
        assert [check.file.path for check in bundle.verify()] == [
            "segments.bin",
            "base.m3u8",
            "base.mp4",
            "quality/report.json",
        ]
        assert all(check.problem is None for check in bundle.verify())
        assert [bundle.numbers(segment).shape for segment in bundle.segments] == [(2, 0), (2, 0), (1, 0)]


def test_general_network_and_patches_as_decoded_verify(tmp_path: Path) -> None:
    general = Network(
        coding="general",
        file=None,
        general_sha256="b" * 64,
        channels="rgb",
        receptive_radius=4,
        difficulty_rank=0,
        architecture="espcn",
        precision="fp16",
        parameter_count=1,
        multiply_accumulates_per_base_pixel=1,
    )
    numbers = np.tile(np.array([0, 1, AS_DECODED], np.uint8), (5, 3))
    folder = write_small_bundle(
        tmp_path / "general", networks=[general, sharpening_network(2, seed=1)], numbers=numbers
    )
    with stdo.open_bundle(folder) as bundle:
        assert all(check.problem is None for check in bundle.verify())
        np.testing.assert_array_equal(bundle.numbers(bundle.segments[2]), numbers[4:])


@pytest.mark.parametrize(
    "file", ["base.mp4", "networks/1.onnx", "index.bin", "segments.bin", "base.m3u8", "quality/report.json"]
)
def test_tampered_file_is_found(file: str, folder: Path) -> None:
    flip_a_bit(folder / file)
    with stdo.open_bundle(folder) as bundle:
        problems = {check.file.path: check.problem for check in bundle.verify() if check.problem}
    # Nothing can be said of stream, index and playlist without the table.
    others = {"base.mp4", "index.bin", "base.m3u8"} if file == "segments.bin" else set()
    assert set(problems) == {file, *others}
    assert f"{file} differs from what the manifest promises" in str(problems[file])


@pytest.mark.parametrize("place", [0, -1])
def test_damage_in_one_segment_leaves_the_others_usable(place: int, folder: Path) -> None:
    flip_a_bit(folder / "base.mp4", place)
    with stdo.open_bundle(folder) as bundle:
        bundle.segment_bytes(bundle.segments[0])
        bundle.segment_bytes(bundle.segments[1])
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"):
            bundle.header_bytes() if place == 0 else bundle.segment_bytes(bundle.segments[2])


def test_file_cut_short_is_found(folder: Path) -> None:
    data = (folder / "base.mp4").read_bytes()
    (folder / "base.mp4").write_bytes(data[:-1])
    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"):
        bundle.segment_bytes(bundle.segments[2])


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "networks" / "0.onnx").unlink()
    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match=r"networks/0\.onnx .* Fetch"):
        bundle.network_bytes(bundle.manifest.networks[0])


def test_file_that_changes_after_it_was_verified_is_found(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        assert all(check.problem is None for check in bundle.verify())
        flip_a_bit(folder / "base.mp4")
        assert [check.file.path for check in bundle.verify() if check.problem] == ["base.mp4"]


def test_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    shutil.move(folder / "networks" / "0.onnx", outside)
    (folder / "networks" / "0.onnx").symlink_to(outside)
    with stdo.open_bundle(folder) as bundle:
        for read in (bundle.path, bundle.read):
            file = bundle.manifest.networks[0].file
            assert file is not None
            with pytest.raises(DamagedBundleError, match="leads out of the bundle"):
                read(file)


def test_number_without_a_network_is_refused(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        segments = list(bundle.segments)
    part = encode_segment(np.full((1, 9), 2, np.uint8))
    index = (folder / "index.bin").read_bytes()
    assert segments[2].patch_index is not None
    offset = segments[2].patch_index.offset
    reference = type(segments[2].patch_index)(
        offset=offset, byte_count=len(part), sha256=hashlib.sha256(part).hexdigest()
    )
    segments[2] = type(segments[2])(
        first_frame=4, time_ticks=2048, base_stream=segments[2].base_stream, patch_index=reference
    )
    rewrite(folder, "index.bin", index[:offset] + part, "patch_index")
    rewrite(folder, "segments.bin", encode_segment_table(segments), "segments")
    with stdo.open_bundle(folder) as bundle:
        message = "names network 2 in the segment that begins with frame 4; the bundle has 2"
        with pytest.raises(MalformedPatchIndexError, match=message):
            bundle.numbers(bundle.segments[2])
        problems = {check.file.path: check.problem for check in bundle.verify() if check.problem}
    assert list(problems) == ["index.bin"]


def test_table_that_leaves_bytes_over_is_refused(folder: Path) -> None:
    rewrite(folder, "base.mp4", (folder / "base.mp4").read_bytes() + bytes(8), "base_stream")
    with stdo.open_bundle(folder) as bundle:
        with pytest.raises(MalformedSegmentTableError, match=r"don't fill base\.mp4 from its header to its end"):
            assert bundle.segments
        problems = [check.file.path for check in bundle.verify() if check.problem]
    assert problems == ["segments.bin", "base.m3u8", "index.bin", "base.mp4"]


def test_playlist_of_other_ranges_is_found(folder: Path) -> None:
    text = (folder / "base.m3u8").read_text(encoding="utf-8")
    rewrite(folder, "base.m3u8", text.replace("0.080000", "0.090000").encode(), "playlist")
    with stdo.open_bundle(folder) as bundle:
        problems = {check.file.path: check.problem for check in bundle.verify() if check.problem}
    assert problems == {
        "base.m3u8": "The playlist doesn't agree with the segment table: segment 0 lasts 0.09 s, not 0.08 s."
    }
