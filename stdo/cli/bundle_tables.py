"""A bundle as tables for a terminal: what it holds, what it weighs, and how good it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from stdo.bundle.codecs import CODECS
from stdo.bundle.manifest import Manifest, PictureQuality, Quality
from stdo.cli.output import foreign_text

_PART_TITLES = {
    "base_stream": "base stream",
    "networks": "networks",
    "patch_index": "patch index",
    "tables": "segment table and playlist",
    "manifest": "manifest",
    "total": "total",
}


def rows_table(rows: Mapping[str, str]) -> Table:
    """Names and values."""
    table = Table(box=None, show_header=False)
    for name, value in rows.items():
        table.add_row(name, foreign_text(value))
    return table


def described(manifest: Manifest) -> dict[str, str]:
    """What a bundle holds, by name. What was stripped from it is left out."""
    created = f"{manifest.created_at:%Y-%m-%d %H:%M %Z}"
    rows = {"bundle": f"{manifest.bundle_id}, format {manifest.format_version}, {created}"}
    if (source := manifest.source) is not None:
        rows["source"] = (
            f"{source.video_codec} {source.pixel_format} in {source.container}, {source.byte_count:,} bytes"
        )
        rows["normalised"] = ", ".join(one.code for one in source.input_normalisations) or "nothing"
    rows["picture"] = _picture(manifest)
    rows["base stream"] = _base_stream(manifest)
    rows["played by"] = CODECS[manifest.base_stream.codec].played_by
    rows["networks"] = _networks(manifest)
    if (grid := manifest.patch_grid) is not None:
        rows["patches"] = f"{grid.columns}x{grid.rows} of {grid.patch_width}x{grid.patch_height}, halo {grid.halo}"
    if (provenance := manifest.provenance) is not None:
        rows["method"] = f"{provenance.method}, trained on {provenance.device}"
    return rows


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
    title = f"How close to the source, {quality.frames_measured} frames of {quality.bit_depth} bits"
    table = Table("", title=title, title_justify="left")
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


def _picture(manifest: Manifest) -> str:
    picture, colour = manifest.picture, manifest.picture.colour
    rate = f"{float(picture.average_frame_rate.fraction):.3f}/s"
    varying = ", variable frame rate" if picture.variable_frame_rate else ""
    return (
        f"{picture.display_width}x{picture.display_height}, {picture.frame_count} frames at {rate}{varying}, "
        f"{picture.bit_depth} bits, {colour.matrix} {colour.range}, {colour.transfer}"
    )


def _base_stream(manifest: Manifest) -> str:
    picture, stream = manifest.picture, manifest.base_stream
    size = f"{picture.base_width}x{picture.base_height} (x{picture.scale})"
    segments = f"{manifest.segments.segment_count} segments"
    return (
        f"{stream.codec} {size}, {stream.bit_depth} bits, sound: {stream.audio_codec or 'none'}, {segments}, "
        f"{stream.mime_type}"
    )


def _networks(manifest: Manifest) -> str:
    if not manifest.networks:
        return "none: the picture is shown as decoded"
    kinds = Counter(
        f"{network.architecture}, {network.channels}, {network.coding}, {network.precision}, "
        f"{network.parameter_count:,} parameters each"
        for network in manifest.networks
    )
    return "; ".join(f"{count} {kind}" for kind, count in kinds.items())
