"""The demo's picture: source, bicubic and restored side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from demo.restoration import Comparison
from stdo.decoder.frames import Plane
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.psnr import psnr, squared_error

_PANEL_WIDTH = 570
_MARGIN = 14
_LINE_HEIGHT = 28
_FONT_SIZE = 16
_MARK = "#ffcc00"


def draw_comparison(path: Path, comparison: Comparison) -> None:
    """The three versions: the whole frame, and below it the crop where bicubic and restored differ most, in large."""
    views = {"source": comparison.source, "bicubic": comparison.bicubic, "restored": comparison.restored}
    crop = comparison.crop
    height, width = comparison.source.luma.shape
    whole, part = (0, 0, width, height), (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    top = _MARGIN + _LINE_HEIGHT
    below = top + _LINE_HEIGHT + _panel_height(whole) + _MARGIN
    size = 3 * _PANEL_WIDTH + 4 * _MARGIN, below + _LINE_HEIGHT + _panel_height(part) + _MARGIN
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_SIZE)
    title = (
        f"Frame {comparison.frame_number}, and the part of it in which the restored picture gains most over bicubic. "
        "PSNR of luma."
    )
    draw.text((_MARGIN, _MARGIN), title, "black", font)
    for place, (name, view) in enumerate(views.items()):
        left = _MARGIN + place * (_PANEL_WIDTH + _MARGIN)
        for box, y, words in ((whole, top, name), (part, below, f"{name}, enlarged")):
            draw.text((left, y), f"{words}{_psnr_note(comparison.source, view, box)}", "black", font)
            picture.paste(_panel(view, box), (left, y + _LINE_HEIGHT))
        mark = [edge * _PANEL_WIDTH / width for edge in part]
        draw.rectangle(_moved(mark, left, top + _LINE_HEIGHT), outline=_MARK, width=2)
    picture.save(path, format="PNG")


def _panel(view: RestoredFrame, box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.fromarray((view.rgb >> (view.bit_depth - 8)).astype(np.uint8)).crop(box)
    # Enlarged pixels are shown as they are.
    filter_name = Image.Resampling.LANCZOS if image.width > _PANEL_WIDTH else Image.Resampling.NEAREST
    return image.resize((_PANEL_WIDTH, _panel_height(box)), filter_name)


def _panel_height(box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = box
    return max(1, round((bottom - top) * _PANEL_WIDTH / (right - left)))


def _moved(edges: list[float], left: int, top: int) -> tuple[float, float, float, float]:
    return edges[0] + left, edges[1] + top, edges[2] + left, edges[3] + top


def _psnr_note(source: RestoredFrame, view: RestoredFrame, box: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = box

    def cut(plane: Plane) -> Plane:
        return plane[top:bottom, left:right]

    figure = psnr(float(squared_error(cut(source.luma), cut(view.luma)).mean()), source.bit_depth)
    return "" if figure is None else f", {figure:.2f} dB"
