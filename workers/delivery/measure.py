"""How good a bundle is: restored by the client's decoder from the delivered files, and compared with the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from stdo.bundle.bundle import Bundle
from stdo.bundle.geometry import FrameLayout, peak
from stdo.bundle.manifest import PictureQuality, PrecisionLoss
from stdo.decoder.frames import YuvFrame
from stdo.decoder.reconstruction import CodedFrame, FrameRestorer, coded_frames
from stdo.decoder.resize import Filter, resize_frame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.patch_errors import QuarterDecibels, measured_frame, quarter_decibels
from stdo.quality.psnr import FRAME_PSNR_WITHOUT_ERROR, FrameError, FrameErrors, ReferenceFrame, frame_error, summary
from workers.base_stream.frame_pairs import VideoFiles
from workers.delivery.networks import JobNetworks
from workers.progress import Progress
from workers.training.frame_threads import map_frames
from workers.training.score import PatchScores, patch_mse

Variant = Literal["restored", "bicubic", "lanczos", "f0"]
VARIANTS: tuple[Variant, ...] = ("restored", "bicubic", "lanczos", "f0")
PRECISION_EVERY = 10
"""Every tenth of the measured frames is also restored with float32 weights. The difference is what the precision of the
delivered weights costs."""

_FrameNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What was measured. The arrays have a row for each measured frame."""

    layout: FrameLayout
    frames: _FrameNumbers
    """The numbers of the measured frames, ascending."""
    errors: Mapping[Variant, FrameErrors]
    f0_patches: QuarterDecibels
    restored_patches: QuarterDecibels
    precision_loss: PrecisionLoss

    def quality(self, variant: Variant, places: slice = slice(None)) -> PictureQuality:
        """The figures over all measured frames, or over some places among them."""
        return summary(self.errors[variant][places], self.layout)


def frames_to_measure(frame_count: int, max_frames: int) -> _FrameNumbers:
    """An even sample of a video's frames: at most `max_frames` of them, or all."""
    frames_measured = min(frame_count, max_frames)
    return np.array(
        [
            measured_frame(place, frame_count=frame_count, frames_measured=frames_measured)
            for place in range(frames_measured)
        ]
    )


def measure(
    bundle: Bundle,
    video: VideoFiles,
    networks: JobNetworks,
    scores: Path,
    *,
    device: torch.device,
    report: Progress,
) -> Measurement:
    """Restore a sample of the frames and compare them with the source, in one pass over both.

    f0 was measured when the patches were scored: of its errors, those of the same frames are taken.

    Args:
        bundle: with the networks, its manifest still without quality.
        scores: the file of PatchScores.
        device: what the networks run on; where it is a GPU, in torch.
    """
    layout = bundle.layout
    assert layout.grid is not None
    frames = frames_to_measure(layout.picture.frame_count, networks.settings.measure.max_frames)
    work = _FrameWork.of(bundle, networks, device)
    errors = {variant: FrameErrors.empty(len(frames)) for variant in VARIANTS}
    errors["f0"], f0_patches = _f0_errors(scores, frames, layout)
    exact = FrameErrors.empty(len(frames[::PRECISION_EVERY]))
    restored_patches = np.empty((len(frames), layout.grid.patch_count), np.uint8)
    done = 0

    def say() -> None:
        report("measure", done, len(frames), "frames")

    for place, result in enumerate(map_frames(work.compare, _pairs(bundle, video, frames, sign_of_life=say))):
        for variant, error in result.errors.items():
            errors[variant][place] = error
        if place % PRECISION_EVERY == 0:
            exact[place // PRECISION_EVERY] = result.exact_error or result.errors["restored"]
        restored_patches[place] = result.restored_patches
        done = place + 1
        say()
    return Measurement(
        layout=layout,
        frames=frames,
        errors=errors,
        f0_patches=f0_patches,
        restored_patches=restored_patches,
        precision_loss=_precision_loss(exact, errors["restored"][::PRECISION_EVERY], layout),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """A measured frame of the bundle, and the source's."""

    place: int
    """Among the measured frames."""
    coded: CodedFrame
    source: YuvFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    errors: Mapping[Variant, FrameError]
    exact_error: FrameError | None
    restored_patches: QuarterDecibels
    """(rows * columns,)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameWork:
    """What is done with each frame, on several of them at once."""

    layout: FrameLayout
    delivered: FrameRestorer
    exact: FrameRestorer | None
    """None where the delivered weights are float32 already."""

    @classmethod
    def of(cls, bundle: Bundle, networks: JobNetworks, device: torch.device) -> _FrameWork:
        exact = networks.exact_upscalers(device)
        return cls(
            layout=bundle.layout,
            delivered=FrameRestorer(bundle.layout, networks.delivered_upscalers(bundle, device)),
            exact=None if exact is None else FrameRestorer(bundle.layout, exact),
        )

    def compare(self, pair: _Pair) -> _Comparison:
        layout, picture = self.layout, self.layout.picture
        shown = pair.source.cropped(width=picture.display_width, height=picture.display_height)
        reference = ReferenceFrame(frame=shown, colour=picture.colour)
        base, numbers = pair.coded.base, pair.coded.numbers
        restored = self.delivered.restore(base, numbers)
        exact_error = None
        if self.exact is not None and pair.place % PRECISION_EVERY == 0:
            exact_error = frame_error(layout, reference, self.exact.restore(base, numbers))
        return _Comparison(
            errors={
                "restored": frame_error(layout, reference, restored),
                "bicubic": frame_error(layout, reference, _filtered(base, layout, "bicubic")),
                "lanczos": frame_error(layout, reference, _filtered(base, layout, "lanczos")),
            },
            exact_error=exact_error,
            restored_patches=quarter_decibels(patch_mse(layout, reference, restored), peak=peak(picture.bit_depth)),
        )


def _pairs(
    bundle: Bundle, video: VideoFiles, frames: _FrameNumbers, *, sign_of_life: Callable[[], None]
) -> Iterator[_Pair]:
    """The frames to be measured. The source is decoded from its start, since seeking in it isn't exact.

    Args:
        sign_of_life: called for each frame of the source that is passed over.
    """
    sources = enumerate(video.source_frames())
    for place, coded in enumerate(coded_frames(bundle, frames.tolist())):
        for number, source in sources:
            if number == coded.number:
                yield _Pair(place=place, coded=coded, source=source)
                break
            sign_of_life()


def _f0_errors(scores: Path, frames: _FrameNumbers, layout: FrameLayout) -> tuple[FrameErrors, QuarterDecibels]:
    """Of all that the scores hold, what was measured of these frames; the rest is let go of at once."""
    every = PatchScores.load(scores)
    return every.f0_frames[frames], quarter_decibels(every.mse[frames], peak=peak(layout.picture.bit_depth))


def _filtered(base: YuvFrame, layout: FrameLayout, name: Filter) -> RestoredFrame:
    """What a player without networks would show."""
    picture = layout.picture
    enlarged = resize_frame(base, scale=picture.scale, filter=name).to_depth(picture.bit_depth)
    shown = enlarged.cropped(width=picture.display_width, height=picture.display_height)
    return RestoredFrame(time=base.time, colour=picture.colour, bit_depth=picture.bit_depth, restored_yuv=shown)


def _precision_loss(exact: FrameErrors, delivered: FrameErrors, layout: FrameLayout) -> PrecisionLoss:
    exact_quality, delivered_quality = summary(exact, layout), summary(delivered, layout)
    return PrecisionLoss(
        psnr_y_db=_finite(exact_quality.psnr_y) - _finite(delivered_quality.psnr_y),
        psnr_rgb_db=_finite(exact_quality.psnr_rgb) - _finite(delivered_quality.psnr_rgb),
        frames_measured=len(exact),
    )


def _finite(psnr: float | None) -> float:
    return FRAME_PSNR_WITHOUT_ERROR if psnr is None else psnr
