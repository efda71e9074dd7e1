"""Judge general networks on the held-back photographs: PSNR over whole pictures, beside Pillow's bicubic."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from models.general import GENERAL_NETWORK_HALO
from pretraining.degradation import code_as_video, enlarge_bicubic, reduce_bicubic, slow_pan
from pretraining.pairs import PicturePair
from pretraining.photographs import Photograph, RgbImage

JUDGED_CRFS = (18, 23, 28)
_CLIP_FRAMES = 4
_BT709 = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True, kw_only=True)
class Psnr:
    """PSNR in dB over a set of pictures: of the squared error pooled over all pixels, and the mean of the pictures'."""

    pooled: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """PSNR of 8-bit BT.709 limited-range luma, and of 8-bit RGB."""

    y: Psnr
    rgb: Psnr


def judged_pairs(photographs: Iterable[Photograph], *, scale: int, crf: int | None) -> Iterator[PicturePair]:
    """One pair a photograph: reduced, and coded as the last frame of a short pan at this CRF (None: clean)."""
    for photograph in photographs:
        reach = _CLIP_FRAMES - 1
        height, width = ((size - reach) // (2 * scale) * 2 * scale for size in photograph.pixels.shape[:2])
        offsets = [(frame, frame) for frame in range(_CLIP_FRAMES)]
        windows = slow_pan(photograph.pixels, height=height, width=width, offsets=offsets)
        if crf is None:
            low_res = reduce_bicubic(windows[-1], scale=scale)
        else:
            low_res = code_as_video([reduce_bicubic(window, scale=scale) for window in windows], crf=crf)[-1]
        yield PicturePair(low_res=low_res, high_res=windows[-1])


def restore(network: nn.Module, low_res: RgbImage, *, scale: int) -> RgbImage:
    """What the network makes of (H, W, 3) uint8: (scale*H, scale*W, 3) uint8. Edges are replicated as in the format."""
    tensor = torch.from_numpy(low_res.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        restored = network(F.pad(tensor, [GENERAL_NETWORK_HALO] * 4, mode="replicate"))
    overhang = scale * GENERAL_NETWORK_HALO
    inner = restored[0, :, overhang:-overhang, overhang:-overhang]
    pixels: RgbImage = (inner * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return pixels


def judge(network: nn.Module | None, pairs: Iterable[PicturePair], *, scale: int) -> Quality:
    """The quality of a network, or of Pillow's bicubic (None), over the pairs."""
    errors_y, errors_rgb = [], []
    for pair in pairs:
        if network is None:
            restored = enlarge_bicubic(pair.low_res, scale=scale)
        else:
            restored = restore(network, pair.low_res, scale=scale)
        errors_y.append(_squared_error(luma(restored), luma(pair.high_res)))
        errors_rgb.append(_squared_error(restored, pair.high_res))
    return Quality(y=_psnr(errors_y), rgb=_psnr(errors_rgb))


def luma(picture: RgbImage) -> RgbImage:
    """8-bit luma, BT.709, limited range (16 to 235): (h, w, 3) -> (h, w)."""
    values: RgbImage = np.rint(16 + 219 / 255 * (picture @ _BT709)).astype(np.uint8)
    return values


@dataclass(frozen=True, kw_only=True)
class _SquaredError:
    total: float
    values: int


def _squared_error(picture: RgbImage, reference: RgbImage) -> _SquaredError:
    difference: npt.NDArray[np.int32] = picture.astype(np.int32) - reference
    return _SquaredError(total=float(np.square(difference).sum()), values=difference.size)


def _psnr(errors: list[_SquaredError]) -> Psnr:
    pooled = sum(error.total for error in errors) / sum(error.values for error in errors)
    means = [_decibel(error.total / error.values) for error in errors]
    return Psnr(pooled=_decibel(pooled), mean=sum(means) / len(means))


def _decibel(mean_squared_error: float) -> float:
    return 10 * math.log10(255**2 / mean_squared_error) if mean_squared_error > 0 else math.inf
