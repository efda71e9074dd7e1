"""Restored frames as files: times, sound, sizes and colour survive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

import stdo
from stdo.bundle.manifest import Colour
from stdo.decoder.frames import YuvFrame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_writer import write_mp4, write_png_frames, write_raw_yuv
from stdo.errors import DamagedBundleError, VideoError
from tests.stdo.bundles import (
    BT709,
    make_picture,
    moving_frames,
    nearest_network,
    write_base_stream,
    write_small_bundle,
)

EVEN_TIMES = [Fraction(number, 25) for number in range(12)]
UNEVEN_TIMES = [Fraction(tick, 12_800) for tick in (100, 612, 1000, 1900, 2000, 5000, 5001, 9000)]


def _write(folder: Path, output: Path, *, frames: range | None = None, crf: int = 16) -> list[RestoredFrame]:
    """Restore a bundle to an MP4; the frames that went into it."""
    written = []

    def kept(restored: Iterator[RestoredFrame]) -> Iterator[RestoredFrame]:
        for frame in restored:
            written.append(frame)
            yield frame

    with stdo.open_bundle(folder) as bundle:
        count = write_mp4(
            kept(stdo.reconstruct(bundle, frames=frames)),
            output,
            picture=bundle.manifest.picture,
            base_stream=bundle.path(bundle.manifest.base_stream),
            crf=crf,
            part=frames is not None,
        )
    assert count == len(written)
    return written


def _time(timestamp: int | None, time_base: Fraction | None) -> Fraction:
    assert timestamp is not None
    assert time_base is not None
    return timestamp * time_base


def _read(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [_time(frame.pts, frame.time_base) for frame in frames], [frame.to_ndarray() for frame in frames]


def _sound(path: Path) -> tuple[list[Fraction], list[bytes]]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [_time(packet.pts, packet.time_base) for packet in packets], [bytes(packet) for packet in packets]


@pytest.mark.parametrize("times", [EVEN_TIMES, UNEVEN_TIMES, [Fraction(0)]], ids=["even", "uneven", "single"])
def test_each_frame_keeps_its_time(times: list[Fraction], tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=times)
    _write(folder, tmp_path / "out.mp4")
    assert _read(tmp_path / "out.mp4")[0] == times


@pytest.mark.parametrize("times", [EVEN_TIMES, UNEVEN_TIMES], ids=["even", "uneven"])
def test_track_lasts_to_the_end_of_its_last_frame(times: list[Fraction], tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=times)
    _write(folder, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        duration = _time(stream.duration, stream.time_base)
    assert abs(duration - (times[-1] - times[0] + Fraction(1, 25))) <= Fraction(1, 1000)


def test_sound_is_copied_unchanged(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES, sound_seconds=0.5)
    _write(folder, tmp_path / "out.mp4")
    times, packets = _sound(tmp_path / "out.mp4")
    expected_times, expected_packets = _sound(folder / "base.mp4")
    assert len(packets) > 10
    assert packets == expected_packets
    assert times == expected_times


def test_part_starts_at_zero_with_its_own_sound(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES, sound_seconds=0.48)
    _write(folder, tmp_path / "part.mp4", frames=range(4, 9))
    assert _read(tmp_path / "part.mp4")[0] == [Fraction(number, 25) for number in range(5)]
    times, packets = _sound(tmp_path / "part.mp4")
    whole_times, whole_packets = _sound(folder / "base.mp4")
    start, end = Fraction(4, 25), Fraction(9, 25)
    inside = [number for number, time in enumerate(whole_times) if start <= time < end]
    assert packets == [whole_packets[number] for number in inside]
    for time, number in zip(times, inside, strict=True):
        assert abs(time - (whole_times[number] - start)) <= Fraction(1, 12_800)


@pytest.mark.parametrize(("width", "height"), [(45, 29), (44, 29), (45, 28), (1, 1)])
def test_odd_sizes_are_extended_to_even_ones(width: int, height: int, tmp_path: Path) -> None:
    networks = [nearest_network(2)]
    folder = write_small_bundle(
        tmp_path / "bundle", width=width, height=height, times=EVEN_TIMES[:2], networks=networks
    )
    frames = _write(folder, tmp_path / "out.mp4", crf=0)
    _, decoded = _read(tmp_path / "out.mp4")
    for frame, planes in zip(frames, decoded, strict=True):
        luma = np.pad(frame.luma, ((0, height % 2), (0, width % 2)), mode="edge")
        # Constant rate factor 0 is lossless.
        expected = np.concatenate([plane.reshape(-1) for plane in (luma, frame.yuv.u, frame.yuv.v)])
        np.testing.assert_array_equal(planes.reshape(-1), expected)


@pytest.mark.parametrize(
    ("colour", "codes"),
    [
        (BT709, (1, 1, 1, 1)),
        (Colour(matrix="bt601", range="full", primaries="bt470bg", transfer="iec61966-2-1"), (6, 5, 13, 2)),
        (Colour(matrix="bt2020", range="limited", primaries="bt2020", transfer="smpte2084"), (9, 9, 16, 1)),
        (Colour(matrix="bt709", range="limited", primaries="unknown", transfer="novel"), (1, 2, 2, 1)),
    ],
)
def test_colour_is_tagged(colour: Colour, codes: tuple[int, int, int, int], tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2], colour=colour)
    _write(folder, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert tuple(int(tag) for tag in tags) == codes


def test_unfinished_file_does_not_stay(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:4])
    (tmp_path / "out.mp4").write_bytes(b"an older file")

    def failing(restored: Iterator[RestoredFrame]) -> Iterator[RestoredFrame]:
        yield next(restored)
        raise DamagedBundleError("the bundle ends here")

    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match="ends here"):
        write_mp4(
            failing(stdo.reconstruct(bundle)),
            tmp_path / "out.mp4",
            picture=bundle.manifest.picture,
            base_stream=folder / "base.mp4",
        )
    assert (tmp_path / "out.mp4").read_bytes() == b"an older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out.mp4"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2])
    with pytest.raises(VideoError, match=r"nowhere/out\.mp4 can't be written: No such file"):
        _write(folder, tmp_path / "nowhere" / "out.mp4")


def test_video_without_frames_is_refused(tmp_path: Path) -> None:
    picture = make_picture(width=40, height=40, scale=2)
    write_base_stream(tmp_path / "base.mp4", moving_frames(picture, [Fraction(0)]))
    with pytest.raises(VideoError, match="no frame to write"):
        write_mp4([], tmp_path / "out.mp4", picture=picture, base_stream=tmp_path / "base.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["base.mp4"]


def _frames(width: int, height: int) -> list[RestoredFrame]:
    source = moving_frames(make_picture(width=2 * width, height=2 * height, scale=2), [Fraction(0), Fraction(1)])
    cropped = [frame.cropped(width=width, height=height) for frame in source]
    return [RestoredFrame(time=frame.time, colour=BT709, restored_yuv=frame) for frame in cropped]


def test_png_frames_hold_the_rgb(tmp_path: Path) -> None:
    frames = _frames(31, 17)
    assert write_png_frames(frames, tmp_path / "frames", first_number=41) == 2
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["000041.png", "000042.png"]
    for name, frame in zip(names, frames, strict=True):
        with PillowImage.open(tmp_path / "frames" / name) as image:
            np.testing.assert_array_equal(np.asarray(image), frame.rgb)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VideoError, match=r"can't be written to .*file"):
        write_png_frames(_frames(8, 8), tmp_path / "file")


def test_raw_planes_follow_one_another() -> None:
    frames = _frames(31, 17)
    stream = io.BytesIO()
    assert write_raw_yuv(frames, stream) == 2
    data = np.frombuffer(stream.getvalue(), np.uint8)
    luma, chroma = 31 * 17, 16 * 9
    assert len(data) == 2 * (luma + 2 * chroma)
    second = data[luma + 2 * chroma :]
    planes: YuvFrame = frames[1].yuv
    np.testing.assert_array_equal(second[:luma].reshape(17, 31), planes.y)
    np.testing.assert_array_equal(second[luma : luma + chroma].reshape(9, 16), planes.u)
    np.testing.assert_array_equal(second[luma + chroma :].reshape(9, 16), planes.v)
