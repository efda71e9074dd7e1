"""Training pairs, held in memory as uint8: clean and coded low-resolution pictures beside their originals."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from models.general import GENERAL_NETWORK_HALO
from pretraining.degradation import code_as_video, reduce_bicubic, slow_pan
from pretraining.photographs import Photograph, RgbImage

CRF_RANGE = (16, 32)
_CLIP_FRAMES = 8
_KEPT_FRAMES = (0, 5)  # One intra frame, and one that is predicted.


@dataclass(frozen=True, kw_only=True)
class PicturePair:
    """A low-resolution picture (H, W, 3) and what it shows at (scale*H, scale*W, 3), both uint8 RGB."""

    low_res: RgbImage
    high_res: RgbImage


@dataclass(frozen=True, kw_only=True)
class PatchBatch:
    """Patches as the bundle format cuts them, uint8.

    low_res: (B, 3, patch + 2 * halo, patch + 2 * halo), halo being GENERAL_NETWORK_HALO
    high_res: (B, 3, scale * patch, scale * patch), without the halo
    """

    low_res: RgbImage
    high_res: RgbImage


def clean_pairs(photographs: Iterable[Photograph], *, scale: int) -> Iterator[PicturePair]:
    """Each photograph, reduced."""
    for photograph in photographs:
        low_res = reduce_bicubic(photograph.pixels, scale=scale)
        height, width = low_res.shape[:2]
        yield PicturePair(low_res=low_res, high_res=photograph.pixels[: height * scale, : width * scale])


def coded_pairs(
    photographs: Iterable[Photograph], *, scale: int, clips_per_photograph: int, random: np.random.Generator
) -> Iterator[PicturePair]:
    """Frames of short clips: a slow pan over each photograph, reduced, coded at a random CRF and decoded again."""
    for photograph in photographs:
        for _ in range(clips_per_photograph):
            yield from _coded_clip(photograph.pixels, scale=scale, random=random)


def _coded_clip(picture: RgbImage, *, scale: int, random: np.random.Generator) -> Iterator[PicturePair]:
    # A step of up to 2 high-resolution pixels a frame gives the codec whole and fractional motion at low resolution.
    step = random.integers(-2, 3, size=2)
    reach = np.abs(step) * (_CLIP_FRAMES - 1)
    height, width = (int(size) // (2 * scale) * 2 * scale for size in np.array(picture.shape[:2]) - reach)
    start = np.where(step < 0, reach, 0)
    offsets = [(int(top), int(left)) for top, left in (start + step * frame for frame in range(_CLIP_FRAMES))]
    windows = slow_pan(picture, height=height, width=width, offsets=offsets)
    crf = int(random.integers(CRF_RANGE[0], CRF_RANGE[1] + 1))
    decoded = code_as_video([reduce_bicubic(window, scale=scale) for window in windows], crf=crf)
    for frame in _KEPT_FRAMES:
        yield PicturePair(low_res=decoded[frame], high_res=windows[frame])


class PatchSampler:
    """Draws random patches with their halo, flipped and transposed at random, from clean and coded pictures.

    Of `candidates` random patches the one with most detail is taken: flat ones, which photographs are full of, teach
    little, since every network restores them well.
    """

    def __init__(
        self,
        *,
        clean: list[PicturePair],
        coded: list[PicturePair],
        clean_share: float,
        scale: int,
        lr_patch: int,
        candidates: int,
        random: np.random.Generator,
    ) -> None:
        self._pairs = [*clean, *coded]
        self._scale = scale
        self._window = lr_patch + 2 * GENERAL_NETWORK_HALO
        self._candidates = candidates
        self._random = random
        # Within each kind, a picture is drawn in proportion to its area, so that every pixel is as likely.
        shares = [(clean, clean_share), (coded, 1 - clean_share)]
        self._probabilities = np.concatenate([_by_area(pairs) * share for pairs, share in shares if pairs])

    def draw(self, batch_size: int) -> PatchBatch:
        """A batch of fresh patches."""
        chosen = self._random.choice(len(self._pairs), size=batch_size, p=self._probabilities)
        patches = [self._most_detailed_patch(self._pairs[index]) for index in chosen]
        return PatchBatch(
            low_res=np.stack([low_res.transpose(2, 0, 1) for low_res, _ in patches]),
            high_res=np.stack([high_res.transpose(2, 0, 1) for _, high_res in patches]),
        )

    def _most_detailed_patch(self, pair: PicturePair) -> tuple[RgbImage, RgbImage]:
        return max((self._patch(pair) for _ in range(self._candidates)), key=lambda patch: _detail(patch[1]))

    def _patch(self, pair: PicturePair) -> tuple[RgbImage, RgbImage]:
        height, width = pair.low_res.shape[:2]
        top = int(self._random.integers(height - self._window + 1))
        left = int(self._random.integers(width - self._window + 1))
        low_res = pair.low_res[top : top + self._window, left : left + self._window]
        inner_top, inner_left = (self._scale * (edge + GENERAL_NETWORK_HALO) for edge in (top, left))
        inner = self._scale * (self._window - 2 * GENERAL_NETWORK_HALO)
        high_res = pair.high_res[inner_top : inner_top + inner, inner_left : inner_left + inner]
        turn = int(self._random.integers(8))
        return _turned(low_res, turn), _turned(high_res, turn)


def _by_area(pairs: list[PicturePair]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    areas = np.array([pair.low_res.shape[0] * pair.low_res.shape[1] for pair in pairs], dtype=np.float64)
    weights: np.ndarray[tuple[int], np.dtype[np.float64]] = areas / areas.sum()
    return weights


def _detail(picture: RgbImage) -> float:
    """Mean step between neighbouring rows and columns of the green channel."""
    green = picture[..., 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def _turned(picture: RgbImage, turn: int) -> RgbImage:
    """One of the eight symmetries of the square, by number."""
    if turn & 1:
        picture = picture[::-1]
    if turn & 2:
        picture = picture[:, ::-1]
    return picture.swapaxes(0, 1) if turn & 4 else picture
