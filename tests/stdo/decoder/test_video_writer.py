"""Restored frames as files: times, sound, sizes and colour survive."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

import stdo
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import sample_type
from stdo.bundle.manifest import Colour
from stdo.bundle.segments import Segment
from stdo.decoder.frames import YuvFrame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_writer import write_mp4, write_png_frames, write_raw_yuv
from stdo.errors import DamagedBundleError, VideoError
from tests.stdo.bundles import (
    BT709,
    make_picture,
    moving_frames,
    nearest_network,
    write_small_bundle,
)

EVEN_TIMES = [Fraction(number, 25) for number in range(12)]
UNEVEN_TIMES = [Fraction(tick, 12_800) for tick in (100, 612, 1000, 1900, 2000, 5000, 5001, 9000)]


def _write(folder: Path, output: Path, *, frames: tuple[int, int] | None = None, crf: int = 16) -> list[RestoredFrame]:
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
            bundle=bundle,
            part=frames,
            crf=crf,
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
    folder = write_small_bundle(tmp_path / "bundle", times=times, segment_starts=(0,))
    _write(folder, tmp_path / "out.mp4")
    assert _read(tmp_path / "out.mp4")[0] == times


@pytest.mark.parametrize("times", [EVEN_TIMES, UNEVEN_TIMES], ids=["even", "uneven"])
def test_track_lasts_as_long_as_the_manifest_says(times: list[Fraction], tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=times)
    _change_picture(folder, duration_seconds=float(times[-1] - times[0]) + 0.3)
    _write(folder, tmp_path / "out.mp4")
    assert abs(_duration(tmp_path / "out.mp4") - (times[-1] - times[0] + Fraction(3, 10))) <= Fraction(1, 1000)


def test_last_frame_of_a_part_lasts_one_average_frame(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES)
    _write(folder, tmp_path / "part.mp4", frames=(2, 5))
    assert abs(_duration(tmp_path / "part.mp4") - Fraction(3, 25)) <= Fraction(1, 1000)


@pytest.mark.parametrize("rate", [(1, 2**31 - 1), (2**31 - 1, 1), (2**31 - 1, 2**31 - 2)])
def test_largest_rates_of_a_manifest_can_be_written(rate: tuple[int, int], tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:3], segment_starts=(0,))
    _change_picture(folder, average_frame_rate={"numerator": rate[0], "denominator": rate[1]})
    _write(folder, tmp_path / "out.mp4")
    assert _read(tmp_path / "out.mp4")[0] == EVEN_TIMES[:3]


def _change_picture(folder: Path, **fields: object) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["picture"].update(fields)
    path.write_text(json.dumps(document), encoding="utf-8")


def _duration(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return _time(stream.duration, stream.time_base)


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
    _write(folder, tmp_path / "part.mp4", frames=(4, 9))
    assert _read(tmp_path / "part.mp4")[0] == [Fraction(number, 25) for number in range(5)]
    times, packets = _sound(tmp_path / "part.mp4")
    whole_times, whole_packets = _sound(folder / "base.mp4")
    start, end = Fraction(4, 25), Fraction(9, 25)
    inside = [number for number, time in enumerate(whole_times) if start <= time < end]
    assert packets == [whole_packets[number] for number in inside]
    for time, number in zip(times, inside, strict=True):
        assert abs(time - (whole_times[number] - start)) <= Fraction(1, 12_800)


@pytest.mark.parametrize(
    ("width", "height", "bit_depth", "codec"),
    [
        (45, 29, 8, "h264"),
        (44, 29, 8, "h264"),
        (1, 1, 8, "h264"),
        (45, 29, 10, "h264"),
        (67, 65, 10, "hevc"),
        (66, 90, 10, "hevc"),
    ],
)
def test_odd_sizes_are_extended_to_even_ones(
    width: int, height: int, bit_depth: BitDepth, codec: str, tmp_path: Path
) -> None:
    folder = write_small_bundle(
        tmp_path / "bundle",
        width=width,
        height=height,
        times=EVEN_TIMES[:2],
        networks=[nearest_network(2)],
        bit_depth=bit_depth,
        base_bit_depth=bit_depth,
        segment_starts=(0,),
    )
    frames = _write(folder, tmp_path / "out.mp4", crf=0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.name == codec
        assert context.pix_fmt == ("yuv420p" if bit_depth == 8 else "yuv420p10le")
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
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2], colour=colour, segment_starts=(0,))
    _write(folder, tmp_path / "out.mp4")
    assert _tags(tmp_path / "out.mp4") == codes


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_keeps_its_colour_and_depth(transfer: str, tmp_path: Path) -> None:
    colour = Colour(matrix="bt2020", range="limited", primaries="bt2020", transfer=transfer)
    folder = write_small_bundle(
        tmp_path / "bundle",
        width=128,
        height=96,
        times=EVEN_TIMES[:3],
        colour=colour,
        networks=[nearest_network(2)],
        bit_depth=10,
        base_bit_depth=10,
    )
    frames = _write(folder, tmp_path / "out.mp4", crf=4)
    assert _tags(tmp_path / "out.mp4") == (9, 9, {"smpte2084": 16, "arib-std-b67": 18}[transfer], 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
    times, decoded = _read(tmp_path / "out.mp4")
    assert times == EVEN_TIMES[:3]
    for frame, planes in zip(frames, decoded, strict=True):
        assert np.abs(planes[:96].astype(int) - frame.luma).mean() < 4


def _tags(path: Path) -> tuple[int, ...]:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        return tuple(int(tag) for tag in tags)


def test_unfinished_file_does_not_stay(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:4], segment_starts=(0,))
    (tmp_path / "out.mp4").write_bytes(b"an older file")

    def failing(restored: Iterator[RestoredFrame]) -> Iterator[RestoredFrame]:
        yield next(restored)
        raise DamagedBundleError("the bundle ends here")

    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match="ends here"):
        write_mp4(
            failing(stdo.reconstruct(bundle)),
            tmp_path / "out.mp4",
            bundle=bundle,
        )
    assert (tmp_path / "out.mp4").read_bytes() == b"an older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out.mp4"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2], segment_starts=(0,))
    with pytest.raises(VideoError, match=r"nowhere/out\.mp4 can't be written: No such file"):
        _write(folder, tmp_path / "nowhere" / "out.mp4")


def test_video_without_frames_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2], segment_starts=(0,))
    with stdo.open_bundle(folder) as bundle, pytest.raises(VideoError, match="no frame to write"):
        write_mp4([], tmp_path / "out.mp4", bundle=bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_sound_needs_no_more_than_its_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES, sound_seconds=0.48, segment_starts=(0, 3, 6, 9))
    with stdo.open_bundle(folder) as bundle:
        segment_bytes, read = bundle.segment_bytes, []

        def watched(segment: Segment) -> bytes:
            read.append(segment.first_frame)
            return segment_bytes(segment)

        monkeypatch.setattr(bundle, "segment_bytes", watched)
        write_mp4(stdo.reconstruct(bundle, frames=(3, 5)), tmp_path / "part.mp4", bundle=bundle, part=(3, 5))
    assert set(read) <= {3, 6}
    assert len(_sound(tmp_path / "part.mp4")[0]) >= 3


def test_manifest_may_promise_sound_that_is_not_there(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle", times=EVEN_TIMES[:2], segment_starts=(0,))
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["base_stream"]["audio_codec"] = "aac"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert len(_write(folder, tmp_path / "out.mp4")) == 2


def _frames(width: int, height: int, bit_depth: BitDepth = 8) -> list[RestoredFrame]:
    picture = make_picture(width=2 * width, height=2 * height, scale=2)
    source = moving_frames(picture, [Fraction(0), Fraction(1)], bit_depth=bit_depth)
    cropped = [frame.cropped(width=width, height=height) for frame in source]
    return [RestoredFrame(time=frame.time, colour=BT709, bit_depth=bit_depth, restored_yuv=frame) for frame in cropped]


def test_png_frames_hold_the_rgb(tmp_path: Path) -> None:
    frames = _frames(31, 17)
    assert write_png_frames(frames, tmp_path / "frames", first_number=41) == 2
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["000041.png", "000042.png"]
    for name, frame in zip(names, frames, strict=True):
        with PillowImage.open(tmp_path / "frames" / name) as image:
            np.testing.assert_array_equal(np.asarray(image), frame.rgb)


def test_png_frames_of_ten_bits_have_sixteen(tmp_path: Path) -> None:
    frames = _frames(31, 17, bit_depth=10)
    write_png_frames(frames, tmp_path)
    with av.open(str(tmp_path / "000001.png")) as container:
        picture = next(container.decode(video=0))
    assert picture.format.name == "rgb48be"
    samples = picture.to_ndarray().astype(int)
    np.testing.assert_array_equal(samples >> 6, frames[1].rgb)
    # Ten bits fill sixteen, so that 1023 becomes 65535.
    assert np.abs(samples - frames[1].rgb * (65_535 / 1023)).max() < 1
    assert samples.max() == 65_535


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VideoError, match=r"can't be written to .*file"):
        write_png_frames(_frames(8, 8), tmp_path / "file")


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_raw_planes_follow_one_another(bit_depth: BitDepth) -> None:
    frames = _frames(31, 17, bit_depth)
    stream = io.BytesIO()
    assert write_raw_yuv(frames, stream) == 2
    data = np.frombuffer(stream.getvalue(), np.dtype(sample_type(bit_depth)).newbyteorder("<"))
    luma, chroma = 31 * 17, 16 * 9
    assert len(data) == 2 * (luma + 2 * chroma)
    second = data[luma + 2 * chroma :]
    planes: YuvFrame = frames[1].yuv
    np.testing.assert_array_equal(second[:luma].reshape(17, 31), planes.y)
    np.testing.assert_array_equal(second[luma : luma + chroma].reshape(9, 16), planes.u)
    np.testing.assert_array_equal(second[luma + chroma :].reshape(9, 16), planes.v)
