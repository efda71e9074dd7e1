from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from demo.errors import DemoError
from demo.restoration import Restoration, best_crop, restore
from stdo.bundle.bundle import Bundle, open_bundle
from stdo.decoder.frame_restorer import as_decoded
from stdo.decoder.frames import yuv_to_rgb
from stdo.decoder.reconstruction import reconstruct
from stdo.decoder.video_reader import decode_video
from stdo.quality.psnr import FrameErrors, ReferenceFrame, frame_error, summary
from tests.stdo.bundles import write_base_stream, write_small_bundle

WIDTH, HEIGHT = 64, 48
SHOWN = 3


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"), width=WIDTH, height=HEIGHT, sound_seconds=0.2)


@pytest.fixture(scope="module")
def video(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source that is what bicubic makes of it, but for one frame, which is what the networks restore."""
    with open_bundle(bundle_folder) as bundle:
        base_frames = decode_video(bundle.path(bundle.manifest.base_stream))
        frames = [
            restored.yuv if number == SHOWN else as_decoded(base, bundle.layout)
            for number, (restored, base) in enumerate(zip(reconstruct(bundle), base_frames, strict=True))
        ]
    path = tmp_path_factory.mktemp("video") / "source.mp4"
    write_base_stream(path, frames)
    return path


def _restored(bundle: Bundle, video: Path, target: Path) -> Restoration:
    return restore(bundle, video, target, shown_frame=SHOWN, on_progress=lambda *_: None)


def test_the_crop_with_the_largest_gain_is_found() -> None:
    gain = np.full((100, 200), -3, np.int32)
    gain[48:68, 120:160] = 50
    crop = best_crop(gain)
    assert (crop.left, crop.top, crop.width, crop.height) == (120, 48, 40, 16)
    tiny = best_crop(np.ones((2, 3), np.int32))
    assert (tiny.width, tiny.height) == (1, 1)


def test_one_pass_gives_video_figures_and_pictures(bundle_folder: Path, video: Path, tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    with open_bundle(bundle_folder) as bundle:
        result = restore(
            bundle,
            video,
            tmp_path / "restored.mp4",
            shown_frame=SHOWN,
            on_progress=lambda *counts: counted.append(counts),
        )
        colour, layout = bundle.manifest.picture.colour, bundle.layout
        restored, sources = list(reconstruct(bundle)), list(decode_video(video))
        base_frames = list(decode_video(bundle.path(bundle.manifest.base_stream)))
    errors = FrameErrors.empty(5)
    for number, (source, frame) in enumerate(zip(sources, restored, strict=True)):
        errors[number] = frame_error(layout, ReferenceFrame(frame=source, colour=colour), frame)
    # The bundle says that one frame was measured: the first.
    assert result.luma_psnr == pytest.approx(summary(errors[:1], layout).psnr_y, abs=1e-9)
    assert counted == [(number, 5) for number in range(1, 6)]
    comparison = result.comparison
    assert comparison.frame_number == SHOWN
    np.testing.assert_array_equal(comparison.source.rgb, yuv_to_rgb(sources[SHOWN], colour))
    np.testing.assert_array_equal(comparison.restored.rgb, restored[SHOWN].rgb)
    np.testing.assert_array_equal(comparison.bicubic.luma, as_decoded(base_frames[SHOWN], layout).y)
    with av.open(str(tmp_path / "restored.mp4")) as written:
        assert sum(1 for _ in written.decode(video=0)) == result.frame_count == 5


def test_a_source_of_another_length_is_noticed(bundle_folder: Path, video: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    write_base_stream(short, list(decode_video(video))[:4])
    with open_bundle(bundle_folder) as bundle, pytest.raises(DemoError, match="can't be compared"):
        _restored(bundle, short, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_restoration_without_any_error_has_no_figure(bundle_folder: Path, tmp_path: Path) -> None:
    perfect = tmp_path / "perfect.mp4"
    with open_bundle(bundle_folder) as bundle:
        write_base_stream(perfect, [frame.yuv for frame in reconstruct(bundle)])
        result = _restored(bundle, perfect, tmp_path / "out.mp4")
    # The networks restore R'G'B', whose luma is what the planes that were written hold.
    assert result.luma_psnr is None
