"""From a bundle to frames: segments one by one, frame ranges, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stdo
from stdo.bundle.manifest import FileEntry, Network
from stdo.bundle.segments import Segment, decode_segment_table, encode_segment_table
from stdo.decoder.frames import yuv_to_rgb
from stdo.decoder.reconstruction import RunOptions, coded_frames
from stdo.decoder.video_reader import decode_video
from stdo.errors import DamagedBundleError, FrameRangeError, NetworkError
from tests.stdo.bundles import BT709, nearest_network, write_small_bundle
from tests.stdo.decoder.test_frame_restorer import RepeatingUpscaler

UNEVEN_TIMES = [Fraction(tick, 12_800) for tick in (100, 612, 1000, 1900, 2000, 5000, 5001)]


@pytest.fixture(scope="module")
def nearest_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return write_small_bundle(
        folder, times=UNEVEN_TIMES, networks=[nearest_network(2)], halo=3, segment_starts=(0, 3, 5)
    )


def test_bundle_restores_every_frame_at_its_own_time(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        frames = list(stdo.reconstruct(bundle))
    assert [frame.time for frame in frames] == UNEVEN_TIMES
    for frame, base in zip(frames, decode_video(nearest_bundle / "base.mp4"), strict=True):
        expected = yuv_to_rgb(base, BT709).repeat(2, axis=0).repeat(2, axis=1)[:29, :45]
        np.testing.assert_array_equal(frame.rgb, expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (3, 7), (2, 5), (6, 7), (0, 7)])
def test_part_of_a_bundle_is_the_same_as_in_the_whole(start: int, stop: int, tmp_path: Path) -> None:
    options = {"qp": "20", "bf": "2"}
    folder = write_small_bundle(
        tmp_path, times=UNEVEN_TIMES, base_stream_options=options, segment_starts=(0, 3, 5), sound_seconds=0.3
    )
    with stdo.open_bundle(folder) as bundle:
        whole = list(stdo.reconstruct(bundle))
        part = list(stdo.reconstruct(bundle, frames=(start, stop)))
    for frame, expected in zip(part, whole[start:stop], strict=True):
        assert frame.time == expected.time
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


@pytest.mark.parametrize("frames", [(0, 8), (-1, 2), (3, 3), (5, 2), (7, 8)])
def test_frames_that_are_not_there_are_refused(frames: tuple[int, int], nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle, pytest.raises(FrameRangeError, match="it has frames 0:7"):
        stdo.reconstruct(bundle, frames=frames)


def test_other_networks_plug_in(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        own = next(stdo.reconstruct(bundle, run=RunOptions(threads=1)))
        other = next(stdo.reconstruct(bundle, networks=[RepeatingUpscaler(2, "rgb")]))
        with pytest.raises(ValueError, match="one upscaler for each network"):
            stdo.reconstruct(bundle, networks=[RepeatingUpscaler(2, "rgb")] * 2)
    np.testing.assert_array_equal(own.rgb, other.rgb)


def test_chosen_provider_is_used(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        frames = stdo.reconstruct(bundle, run=RunOptions(providers=("NoSuchProvider",)))
        with pytest.raises(NetworkError, match="has no NoSuchProvider"):
            next(frames)


class _Watched:
    """What of a bundle is read, in order."""

    def __init__(self, bundle: stdo.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[str] = []
        segment_bytes, network_bytes = bundle.segment_bytes, bundle.network_bytes

        def watched_segment(segment: Segment) -> bytes:
            self.reads.append(f"segment {segment.first_frame}")
            return segment_bytes(segment)

        def watched_network(network: Network) -> bytes | None:
            assert network.file is not None
            self.reads.append(network.file.path)
            return network_bytes(network)

        monkeypatch.setattr(bundle, "segment_bytes", watched_segment)
        monkeypatch.setattr(bundle, "network_bytes", watched_network)


def test_segments_and_networks_are_read_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.zeros((7, 9), np.uint8)
    numbers[3:5], numbers[5:] = 2, 1
    folder = write_small_bundle(
        tmp_path, times=UNEVEN_TIMES, networks=[nearest_network(2)] * 3, numbers=numbers, segment_starts=(0, 3, 5)
    )
    with stdo.open_bundle(folder) as bundle:
        watched = _Watched(bundle, monkeypatch)
        frames = stdo.reconstruct(bundle)
        assert watched.reads == []
        next(frames)
        assert watched.reads == ["segment 0", "networks/0.onnx"]
        assert len(list(frames)) == 6
        expected = ["segment 0", "networks/0.onnx", "segment 3", "networks/2.onnx", "segment 5", "networks/1.onnx"]
        assert watched.reads == expected
        watched.reads.clear()
        list(stdo.reconstruct(bundle, frames=(3, 4)))
        assert watched.reads == ["segment 3", "networks/2.onnx"]


def test_chosen_frames_are_read_as_the_bundle_holds_them(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        coded = list(coded_frames(bundle, (1, 4, 6)))
    assert [frame.number for frame in coded] == [1, 4, 6]
    assert [frame.base.time for frame in coded] == [UNEVEN_TIMES[number] for number in (1, 4, 6)]


def _change_table(folder: Path, change: Callable[[list[Segment]], list[Segment]]) -> None:
    """Rewrite the segment table, and its hash in the manifest."""
    path = folder / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    table = folder / document["segments"]["path"]
    segments = decode_segment_table(
        table.read_bytes(), segment_count=document["segments"]["segment_count"], has_patch_index=True
    )
    changed = encode_segment_table(change(list(segments)))
    table.write_bytes(changed)
    entry = FileEntry(
        path=document["segments"]["path"], byte_count=len(changed), sha256=hashlib.sha256(changed).hexdigest()
    )
    document["segments"].update(entry.model_dump())
    path.write_text(json.dumps(document), encoding="utf-8")


def test_segment_that_begins_at_another_time_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path)
    _change_table(folder, lambda table: [table[0], replace(table[1], time_ticks=table[1].time_ticks + 1), table[2]])
    with stdo.open_bundle(folder) as bundle:
        frames = stdo.reconstruct(bundle)
        assert [next(frames).time, next(frames).time] == [0, Fraction(1, 25)]
        with pytest.raises(DamagedBundleError, match="frames 2:4 begins at 2/25 s; the segment table says 41/512 s"):
            next(frames)


@pytest.mark.parametrize(
    ("first_frame", "message"),
    [(3, r"frames 0:3 ends after 2 of these 3 frames"), (1, r"frames 0:1 has more than these 1 frames")],
)
def test_segment_with_another_number_of_frames_is_refused(
    first_frame: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.zeros((5, 9), np.uint8)
    folder = write_small_bundle(tmp_path, networks=[nearest_network(2)], numbers=numbers, patch=(8, 6))
    _change_table(folder, lambda table: [table[0], replace(table[1], first_frame=first_frame), table[2]])
    with stdo.open_bundle(folder) as bundle:
        # The patch index is cut as the table was: its numbers don't matter here.
        monkeypatch.setattr(bundle, "numbers", lambda held: np.zeros((len(bundle.segment_frames(held)), 9), np.uint8))
        with pytest.raises(DamagedBundleError, match=message):
            list(stdo.reconstruct(bundle))


def test_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[nearest_network(3)])
    with stdo.open_bundle(folder) as bundle, pytest.raises(NetworkError, match="where the format demands"):
        list(stdo.reconstruct(bundle))


def test_network_that_is_too_long_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_small_bundle(tmp_path, networks=[nearest_network(2)])
    path = folder / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    document["networks"][0]["file"]["byte_count"] = (64 << 20) + 1
    path.write_text(json.dumps(document), encoding="utf-8")
    with stdo.open_bundle(folder) as bundle:
        watched = _Watched(bundle, monkeypatch)
        with pytest.raises(NetworkError, match="it has 67108865 bytes, more than 67108864"):
            next(stdo.reconstruct(bundle))
        assert watched.reads == ["segment 0"]
