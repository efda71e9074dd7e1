from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demo.errors import DemoError
from demo.restoration import best_crop, restore
from stdo.bundle.bundle import open_bundle
from stdo.decoder.frames import decode_video
from stdo.decoder.reconstruction import reconstruct
from stdo.decoder.upscale import resize_frame
from stdo.quality.psnr import QualityMeter, ReferenceFrame
from tests.stdo.bundles import write_base_stream, write_small_bundle

WIDTH, HEIGHT = 64, 48
BEST_FRAME = 3


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"), width=WIDTH, height=HEIGHT, sound_seconds=0.2)


@pytest.fixture(scope="module")
def video(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source that is what bicubic makes of it, but for one frame, which is what the networks restore."""
    with open_bundle(bundle_folder) as bundle:
        base_stream = decode_video(bundle.path(bundle.manifest.base_stream))
        frames = [
            restored.yuv if number == BEST_FRAME else resize_frame(small, scale=2, filter="bicubic")
            for number, (restored, small) in enumerate(zip(reconstruct(bundle), base_stream, strict=True))
        ]
    path = tmp_path_factory.mktemp("video") / "source.mp4"
    write_base_stream(path, frames)
    return path


def test_the_crop_with_the_largest_gain_is_found() -> None:
    gain = np.full((100, 200), -3, np.int32)
    gain[48:68, 120:160] = 50
    crop, total = best_crop(gain)
    assert (crop.left, crop.top, crop.width, crop.height) == (120, 48, 40, 16)
    assert total == 50 * 16 * 40
    tiny, _ = best_crop(np.ones((2, 3), np.int32))
    assert (tiny.width, tiny.height) == (1, 1)


def test_one_pass_gives_video_figures_and_pictures(bundle_folder: Path, video: Path, tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    with open_bundle(bundle_folder) as bundle:
        result = restore(
            bundle,
            video,
            tmp_path / "restored.mp4",
            wanted_source_frames={0, 4},
            on_progress=lambda *counts: counted.append(counts),
        )
        picture = bundle.manifest.picture
        meter = QualityMeter(picture=picture, grid=bundle.manifest.patch_grid)
        restored, sources = list(reconstruct(bundle)), list(decode_video(video))
        references = [ReferenceFrame(frame=frame, colour=picture.colour) for frame in sources]
        for reference, frame in zip(references, restored, strict=True):
            meter.add(reference, frame)
    assert result.luma_psnr == pytest.approx(meter.result().psnr_y, abs=1e-9)
    assert counted == [(number, 5) for number in range(1, 6)]
    assert result.comparison.frame_number == BEST_FRAME
    np.testing.assert_array_equal(result.comparison.source.rgb, references[BEST_FRAME].rgb)
    np.testing.assert_array_equal(result.comparison.restored.rgb, restored[BEST_FRAME].rgb)
    assert result.comparison.bicubic.rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(result.comparison.bicubic.rgb.astype(int) - restored[BEST_FRAME].rgb).mean() > 3
    assert sorted(result.source_images) == [0, 4]
    np.testing.assert_array_equal(result.source_images[4], references[4].rgb)
    with av.open(str(tmp_path / "restored.mp4")) as written:
        assert sum(1 for _ in written.decode(video=0)) == result.frame_count == 5


def test_a_source_of_another_length_is_noticed(bundle_folder: Path, video: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    write_base_stream(short, list(decode_video(video))[:4])
    with open_bundle(bundle_folder) as bundle, pytest.raises(DemoError, match="can't be compared"):
        restore(bundle, short, tmp_path / "out.mp4", wanted_source_frames=set(), on_progress=lambda *_: None)
    assert not (tmp_path / "out.mp4").exists()


def test_a_restoration_without_any_error_has_no_figure(bundle_folder: Path, tmp_path: Path) -> None:
    perfect = tmp_path / "perfect.mp4"
    with open_bundle(bundle_folder) as bundle:
        frames = [frame.yuv for frame in reconstruct(bundle, frames=range(1))]
        assert frames[0].time == Fraction(0)
        write_base_stream(perfect, [frame.yuv for frame in reconstruct(bundle)])
        result = restore(bundle, perfect, tmp_path / "out.mp4", wanted_source_frames=set(), on_progress=lambda *_: None)
    # The networks restore R'G'B', whose luma is what the planes that were written hold.
    assert result.luma_psnr is None
