"""A bundle's figures as tables for a terminal: what it weighs, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from stdo.bundle.manifest import Manifest, PictureQuality, Quality

_PART_TITLES = {
    "base_stream": "low-resolution stream",
    "networks": "networks",
    "patch_index": "patch index",
    "manifest": "manifest",
    "total": "total",
}


def bytes_table(manifest: Manifest, byte_counts: Mapping[str, int]) -> Table:
    """Bytes of each part, and what they are as a bitrate over the video's duration."""
    table = Table("", title="What is delivered", title_justify="left")
    for heading in ("bytes", "kbit/s", "share"):
        table.add_column(heading, justify="right")
    counts = {"networks": f" ({len(manifest.networks)})"}
    for part, title in _PART_TITLES.items():
        count = byte_counts[part]
        kbit_per_second = count * 8 / 1000 / manifest.picture.duration_seconds
        share = count / byte_counts["total"]
        if part == "total":
            table.add_section()
        table.add_row(title + counts.get(part, ""), f"{count:,}", f"{kbit_per_second:,.1f}", f"{share:.1%}")
    return table


def quality_table(quality: Quality) -> Table:
    """PSNR over whole frames, pooled over the video, and SSIM; the gain is over bicubic."""
    table = Table("", title="How close to the source", title_justify="left")
    for heading in ("PSNR Y, dB", "gain", "PSNR RGB, dB", "gain", "SSIM Y"):
        table.add_column(heading, justify="right")
    base = quality.bicubic
    for title, figures in named_qualities(quality).items():
        if title == "restored":
            table.add_section()
        table.add_row(
            title,
            decibel(figures.psnr_y),
            _gain(figures.psnr_y, base.psnr_y),
            decibel(figures.psnr_rgb),
            _gain(figures.psnr_rgb, base.psnr_rgb),
            f"{figures.ssim_y:.4f}",
        )
    return table


def named_qualities(quality: Quality) -> dict[str, PictureQuality]:
    """From the plainest to the best, as a rule."""
    return {
        "bicubic": quality.bicubic,
        "lanczos": quality.lanczos,
        "f0": quality.f0,
        "restored": quality.restored,
    }


def decibel(figure: float | None) -> str:
    """Two decimals; a picture without any error has no figure."""
    return "no error" if figure is None else f"{figure:.2f}"


def _gain(figure: float | None, base: float | None) -> str:
    return "" if figure is None or base is None else f"{figure - base:+.2f}"
