"""The model card's table of figures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from models.general import load_weights, weights_file_name
from models.registry import ARCHITECTURES
from pretraining.evaluate import JUDGED_CRFS, Quality, judge, judged_pairs
from pretraining.photographs import load_held_back_photographs

_HEADER = (
    "| scale | low resolution | network | Y pooled | Y mean | RGB pooled | RGB mean | Y gain |\n"
    "|---|---|---|---|---|---|---|---|"
)


def print_figures(*, photos: Path, weights: Path, scales: Iterable[int]) -> None:
    """Print PSNR in dB of bicubic and of every network in `weights`, on the held-back photographs, as Markdown."""
    print(_HEADER, flush=True)  # noqa: T201
    for row in _rows(photos=photos, weights=weights, scales=scales):
        print(row, flush=True)  # noqa: T201


def _rows(*, photos: Path, weights: Path, scales: Iterable[int]) -> Iterator[str]:
    photographs = load_held_back_photographs(photos)
    for scale in scales:
        networks = {
            known.name: load_weights(path, architecture=known.name, scale=scale)
            for known in ARCHITECTURES
            if (path := weights / weights_file_name(known.name, scale)).exists()
        }
        for crf in (None, *JUDGED_CRFS):
            if not networks:
                continue
            pairs = list(judged_pairs(photographs, scale=scale, crf=crf))
            bicubic = judge(None, pairs, scale=scale)
            low_res = "clean" if crf is None else f"H.264 CRF {crf}"
            yield _row(scale, low_res, "bicubic", bicubic, gain=0.0)
            for name, network in networks.items():
                quality = judge(network, pairs, scale=scale)
                yield _row(scale, low_res, name, quality, gain=quality.y.pooled - bicubic.y.pooled)


def _row(scale: int, low_res: str, name: str, quality: Quality, *, gain: float) -> str:
    figures = (quality.y.pooled, quality.y.mean, quality.rgb.pooled, quality.rgb.mean)
    columns = " | ".join(f"{figure:.2f}" for figure in figures)
    return f"| x{scale} | {low_res} | {name} | {columns} | {gain:+.2f} |"
