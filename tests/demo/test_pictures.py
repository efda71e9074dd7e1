from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from demo.pictures import draw_comparison
from demo.restoration import Comparison, Crop
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import sample_type
from stdo.decoder.restored_frame import RestoredFrame
from tests.stdo.bundles import BT709

MARK = (255, 204, 0)


def test_the_comparison_shows_three_pictures_and_marks_its_crop(tmp_path: Path) -> None:
    for bit_depth in (8, 10):
        comparison = Comparison(
            frame_number=7,
            crop=Crop(left=16, top=8, width=18, height=11),
            source=_grey(90, bit_depth),
            bicubic=_grey(110, bit_depth),
            restored=_grey(95, bit_depth),
        )
        draw_comparison(tmp_path / "comparison.png", comparison)
        pixels = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB"))
        for grey in (90, 110, 95):
            assert (pixels == grey).all(axis=2).mean() > 0.1
        marked = (pixels == MARK).all(axis=2)
        assert 100 < marked.sum() < 0.02 * marked.size


def _grey(level: int, bit_depth: BitDepth) -> RestoredFrame:
    rgb = np.full((58, 90, 3), level << (bit_depth - 8), sample_type(bit_depth))
    return RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=bit_depth, restored_rgb=rgb)
