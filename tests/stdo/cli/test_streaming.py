"""How many bytes are asked for over HTTP until frames are there."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stdo.bundle.bundle import open_bundle
from stdo.decoder.reconstruction import reconstruct
from tests.stdo.bundle.conftest import Site, serving
from tests.stdo.bundles import sharpening_network, write_small_bundle
from tests.stdo.cli.running import RunStdo

TIMES = [Fraction(number, 25) for number in range(7)]
STARTS = (0, 3, 5)


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segments of 3, 2 and 2 frames, each restored by another of the networks 0, 2 and 1."""
    numbers = np.zeros((7, 9), np.uint8)
    numbers[3:5], numbers[5:] = 2, 1
    return write_small_bundle(
        tmp_path_factory.mktemp("site") / "bundle",
        times=TIMES,
        networks=[sharpening_network(2, seed=seed) for seed in range(3)],
        numbers=numbers,
        segment_starts=STARTS,
        sound_seconds=0.3,
    )


@pytest.fixture
def site(bundle_folder: Path) -> Iterator[Site]:
    with serving(bundle_folder.parent) as site:
        yield site


def bytes_for(
    folder: Path, *, segments: tuple[int, ...], networks: tuple[int, ...], sound: tuple[int, ...] = ()
) -> int:
    """Bytes of manifest, segment table and header, and of what some segments need; `sound` has no patch index."""
    with open_bundle(folder) as bundle:
        manifest, table = bundle.manifest, bundle.segments
        parts = [table[place].base_stream.byte_count for place in (*segments, *sound)]
        for place in segments:
            index = table[place].patch_index
            assert index is not None
            parts.append(index.byte_count)
        for number in networks:
            file = manifest.networks[number].file
            assert file is not None
            parts.append(file.byte_count)
        start = len(bundle.manifest_bytes) + manifest.segments.byte_count + manifest.base_stream.header.byte_count
        return start + sum(parts)


def test_the_first_frame_comes_after_the_first_segment_and_its_networks(site: Site, bundle_folder: Path) -> None:
    with open_bundle(f"{site.url}/bundle") as bundle:
        frames = reconstruct(bundle)
        assert next(frames).time == 0
        assert sum(site.handler.sent) == bytes_for(bundle_folder, segments=(0,), networks=(0,))
        assert len(list(frames)) == 6
    assert sum(site.handler.sent) == bytes_for(bundle_folder, segments=(0, 1, 2), networks=(0, 1, 2))


@pytest.mark.parametrize(
    ("frames", "segments", "networks"),
    [("0:1", (0,), (0,)), ("3:5", (1,), (2,)), ("4:6", (1, 2), (2, 1)), ("6:", (2,), (1,)), ("2:4", (0, 1), (0, 2))],
)
def test_only_what_the_frames_need_is_asked_for(
    frames: str,
    segments: tuple[int, ...],
    networks: tuple[int, ...],
    stdo: RunStdo,
    site: Site,
    bundle_folder: Path,
    tmp_path: Path,
) -> None:
    result = stdo("reconstruct", f"{site.url}/bundle", "-o", f"{tmp_path}/frames/", "--frames", frames)
    assert result.code == 0, result.err
    assert sum(site.handler.sent) == bytes_for(bundle_folder, segments=segments, networks=networks)


def test_a_video_with_sound_needs_the_segment_after_its_frames_too(
    stdo: RunStdo, site: Site, bundle_folder: Path, tmp_path: Path
) -> None:
    result = stdo("reconstruct", f"{site.url}/bundle", "-o", tmp_path / "out.mp4", "--frames", "0:2")
    assert result.code == 0, result.err
    assert sum(site.handler.sent) == bytes_for(bundle_folder, segments=(0,), networks=(0,), sound=(1,))


def test_a_server_without_ranges_sends_each_file_that_is_needed_once(
    stdo: RunStdo, site: Site, bundle_folder: Path, tmp_path: Path
) -> None:
    site.handler.ranges = False
    result = stdo("reconstruct", f"{site.url}/bundle", "-o", f"{tmp_path}/frames/", "--frames", "3:5")
    assert result.code == 0, result.err
    needed = ("manifest.json", "segments.bin", "index.bin", "base.mp4", "networks/2.onnx")
    assert sorted(path for path, _ in site.asked) == sorted(f"/bundle/{name}" for name in needed)
