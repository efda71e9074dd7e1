"""Stage 7: how good the bundle is, measured with the client's decoder on the files that the client gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stdo.bundle.geometry import Image
from stdo.bundle.manifest import PatchGrid, Picture, PictureQuality, PrecisionLoss
from stdo.decoder.frames import YuvFrame
from stdo.decoder.reconstruction import FrameRestorer
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.upscale import Upscaler, resize_frame
from stdo.quality.psnr import FRAME_PSNR_WITHOUT_ERROR, FrameError, QualityMeter, ReferenceFrame
from workers.base_stream.frame_pairs import FramePair, VideoFiles
from workers.progress import Progress
from workers.training.frame_threads import map_frames
from workers.training.groups import IndexArray
from workers.training.score import PatchErrors, PatchScores, patch_mse

Variant = Literal["restored", "bicubic", "lanczos", "f0"]
VARIANTS: tuple[Variant, ...] = ("restored", "bicubic", "lanczos", "f0")
PRECISION_FRAME_STEP = 10
"""Every tenth frame is restored with float32 weights too, to tell what the delivered precision costs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """What a client decodes with: the delivered networks and patch index."""

    picture: Picture
    grid: PatchGrid
    network_of_patch: IndexArray
    """(frames, rows * columns) uint8, decoded from the delivered segments."""
    delivered: Sequence[Upscaler]
    exact: Sequence[Upscaler]
    """The same networks with float32 weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownFrame:
    """A frame to draw heatmaps on."""

    number: int
    rgb: Image
    """(display_height, display_width, 3) uint8, of the source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What was measured."""

    meters: dict[Variant, QualityMeter]
    """All frames of the restored video, of the plain filters, and of f0 (measured by the stage score)."""
    restored_mse: PatchErrors
    precision_loss: PrecisionLoss
    best_frame: ShownFrame
    """Where the restored picture gains most over f0, in dB of RGB PSNR."""

    def quality(self, variant: Variant, frames: slice = slice(None)) -> PictureQuality:
        """The figures of the whole video or of a segment."""
        return self.meters[variant].result(frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameResult:
    number: int
    rgb: Image
    errors: dict[Variant, FrameError]
    exact_error: FrameError | None
    mse: PatchErrors


def evaluate(video: VideoFiles, decoder: Decoder, scores: PatchScores, report: Progress) -> Evaluation:
    """Compare every frame with the source, in one pass."""
    picture = decoder.picture
    meters = {variant: QualityMeter(picture=picture, grid=decoder.grid) for variant in VARIANTS}
    meters["f0"].frames.extend(scores.f0_frames)
    exact = QualityMeter(picture=picture, grid=decoder.grid)
    restored_mse = np.empty_like(scores.mse)
    best_frame, best_gain = None, -np.inf
    for result in _frame_results(video, decoder):
        for variant, error in result.errors.items():
            meters[variant].frames.append(error)
        if result.exact_error is not None:
            exact.frames.append(result.exact_error)
        restored_mse[result.number] = result.mse
        gain = _gain(meters, result.number)
        if gain > best_gain:
            best_frame, best_gain = ShownFrame(number=result.number, rgb=result.rgb), gain
        report("evaluate", result.number + 1, picture.frame_count, "frames")
    assert best_frame is not None
    return Evaluation(
        meters=meters,
        restored_mse=restored_mse,
        precision_loss=_precision_loss(exact, meters["restored"]),
        best_frame=best_frame,
    )


def _frame_results(video: VideoFiles, decoder: Decoder) -> Iterator[_FrameResult]:
    picture, grid = decoder.picture, decoder.grid
    delivered = FrameRestorer(picture, grid, decoder.delivered)
    exact = FrameRestorer(picture, grid, decoder.exact)

    def measure(pair: FramePair) -> _FrameResult:
        reference = pair.reference(picture)
        index = decoder.network_of_patch[pair.number]
        restored = delivered.restore(pair.base, index)
        is_exact_too = pair.number % PRECISION_FRAME_STEP == 0
        return _FrameResult(
            number=pair.number,
            rgb=reference.rgb,
            errors={
                "restored": _error(decoder, reference, restored),
                "bicubic": _error(decoder, reference, _filtered(pair.base, picture, "bicubic")),
                "lanczos": _error(decoder, reference, _filtered(pair.base, picture, "lanczos")),
            },
            exact_error=_error(decoder, reference, exact.restore(pair.base, index)) if is_exact_too else None,
            mse=patch_mse(reference, restored, picture=picture, grid=grid),
        )

    return map_frames(measure, video.frame_pairs(picture))


def _filtered(base_stream: YuvFrame, picture: Picture, name: Literal["bicubic", "lanczos"]) -> RestoredFrame:
    """What a player without networks would show."""
    enlarged = resize_frame(base_stream, scale=picture.scale, filter=name)
    shown = enlarged.cropped(width=picture.display_width, height=picture.display_height)
    return RestoredFrame(time=base_stream.time, colour=picture.colour, restored_yuv=shown)


def _error(decoder: Decoder, reference: ReferenceFrame, restored: RestoredFrame) -> FrameError:
    return QualityMeter(picture=decoder.picture, grid=decoder.grid).add(reference, restored)


def _gain(meters: dict[Variant, QualityMeter], number: int) -> float:
    frame = slice(number, number + 1)
    restored, f0 = (meters[variant].result(frame).psnr_rgb_frame_mean for variant in ("restored", "f0"))
    assert restored is not None
    assert f0 is not None
    return restored - f0


def _precision_loss(exact: QualityMeter, delivered: QualityMeter) -> PrecisionLoss:
    exact_quality, delivered_quality = exact.result(), delivered.result(slice(None, None, PRECISION_FRAME_STEP))
    return PrecisionLoss(
        psnr_y_db=_finite(exact_quality.psnr_y) - _finite(delivered_quality.psnr_y),
        psnr_rgb_db=_finite(exact_quality.psnr_rgb) - _finite(delivered_quality.psnr_rgb),
        frames_measured=len(exact.frames),
    )


def _finite(psnr: float | None) -> float:
    return FRAME_PSNR_WITHOUT_ERROR if psnr is None else psnr
