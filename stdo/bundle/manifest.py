"""The manifest of a bundle: frozen types, from which the JSON Schema is generated.

`docs/FORMAT.md` is the normative text. A reader ignores fields that it doesn't know (a later minor version may add
some) and refuses a major version that it doesn't know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from stdo.bundle.codecs import BitDepth, CodecName
from stdo.bundle.fields import (
    ONLY_WHOLE_NUMBERS,
    FrameCount,
    Frozen,
    HeaderByteCount,
    PictureSize,
    Seconds,
    SegmentCount,
    Sha256,
)
from stdo.bundle.fields import FileEntry as FileEntry
from stdo.bundle.fields import Rational as Rational

FORMAT_NAME: Literal["stdo-bundle"] = "stdo-bundle"
FORMAT_MAJOR_VERSION = 1
FORMAT_VERSION = "1.0"
Scale = Annotated[Literal[1, 2, 3, 4], ONLY_WHOLE_NUMBERS]
Channels = Literal["rgb", "yuv", "luma"]


class Normalisation(Frozen):
    """One thing that was unusual about the source, and what was done about it."""

    code: str
    """A stable word, such as `rotation_applied` or `ten_bit_to_eight`."""
    detail: str
    """One sentence for a person."""


class Source(Frozen):
    """What the uploaded file really was, before any normalisation. For people."""

    sha256: Sha256
    byte_count: int
    container: str
    video_codec: str
    pixel_format: str
    coded_width: int
    coded_height: int
    rotation_degrees: int
    """Clockwise rotation that the file asks a player to apply."""
    frame_count: int
    """Counted by decoding, not read from a header."""
    duration_seconds: Seconds
    average_frame_rate: Rational
    variable_frame_rate: bool
    audio_codec: str | None
    input_normalisations: tuple[Normalisation, ...] = ()


class Colour(Frozen):
    """How to read the Y'CbCr planes of source, base stream and restored picture (ITU-T H.273)."""

    matrix: Literal["bt601", "bt709", "bt2020"]
    range: Literal["limited", "full"]
    primaries: str
    """FFmpeg's name of the H.273 colour primaries, or `unknown`."""
    transfer: str
    """FFmpeg's name of the H.273 transfer characteristics, or `unknown`."""


class Picture(Frozen):
    """Geometry, depth and time of the restored picture. All sizes in pixels."""

    scale: Scale
    display_width: PictureSize
    """Width of the restored picture; what exceeds it to the right is cut off."""
    display_height: PictureSize
    """Likewise; what exceeds it at the bottom is cut off."""
    base_width: Annotated[int, Field(gt=0, multiple_of=2)]
    """2 * ceil(display_width / (2 * scale))"""
    base_height: Annotated[int, Field(gt=0, multiple_of=2)]
    """2 * ceil(display_height / (2 * scale))"""
    bit_depth: Annotated[BitDepth, ONLY_WHOLE_NUMBERS]
    """Of the restored picture's samples."""
    frame_count: FrameCount
    average_frame_rate: Rational
    variable_frame_rate: bool
    """Each frame's own time is the presentation timestamp of its base frame."""
    duration_seconds: Seconds
    """From the first frame's time to the end of the last frame."""
    colour: Colour


class PatchGrid(Frozen):
    """How a base frame is cut into patches. All sizes in pixels of the base frame."""

    patch_width: Annotated[int, Field(gt=0, le=1024)]
    patch_height: Annotated[int, Field(gt=0, le=1024)]
    columns: Annotated[int, Field(gt=0)]
    """ceil(base_width / patch_width); the last column may reach beyond the frame."""
    rows: Annotated[int, Field(gt=0)]
    """ceil(base_height / patch_height); likewise."""
    halo: Annotated[int, Field(ge=0, le=64)]
    """Neighbouring pixels around a patch that its network sees and whose output is cut off."""
    edge: Literal["replicate"] = "replicate"
    """Pixels beyond the frame repeat the nearest pixel of the frame."""

    @property
    def patch_count(self) -> int:
        """Patches of one frame."""
        return self.rows * self.columns


class StreamHeader(Frozen):
    """The first bytes of the base stream, before its first segment: what a player needs to read any segment."""

    byte_count: HeaderByteCount
    sha256: Sha256


class BaseStream(FileEntry):
    """The video that is sent, playable on its own: a header and then the segments, as fragmented MP4."""

    codec: CodecName
    bit_depth: Annotated[BitDepth, ONLY_WHOLE_NUMBERS]
    """Of the decoded samples."""
    mime_type: Annotated[str, Field(pattern=r'^video/mp4; codecs="[^"]+"$', max_length=255)]
    """With the `codecs` parameter of RFC 6381, for picture and sound."""
    time_base: Rational
    """Seconds a tick, 1 / n: the time scale of the video track, in which the segment table counts."""
    header: StreamHeader
    lossless: bool
    """For people. What a decoder must be able to do is in `mime_type`."""
    audio_codec: str | None
    """Null without sound. For people."""


class SegmentTable(FileEntry):
    """Where each segment of base stream and patch index lies (docs/FORMAT.md, section 5.4)."""

    segment_count: SegmentCount


class Network(Frozen):
    """One network. Its number in the patch index is its place in the manifest's list, from 0."""

    coding: str
    """How the network is delivered. A reader refuses a coding that it doesn't know."""
    file: FileEntry | None
    """Null where the bundle doesn't carry it: coding `general` alone."""
    general_sha256: Sha256 | None = None
    """Coding `general`: the SHA-256 of the general network's file, which clients have already."""
    channels: Channels
    """What it reads and writes: R'G'B', Y'CbCr, or luma alone (chroma is then interpolated)."""
    input_frames: tuple[int, ...] = (0,)
    """Frames read, relative to the restored one. (0,) is this frame alone."""
    receptive_radius: Annotated[int, Field(ge=0, le=1024)]
    """How many pixels of the base frame away an output pixel still depends on, at most."""
    difficulty_rank: Annotated[int, Field(ge=0)]
    """0 for the network of the hardest patches. A reader that can't run all leaves out the highest first."""
    architecture: str
    """Its name, such as `espcn`. For people."""
    precision: str
    """How exact the delivered weights are: int8, fp16 or fp32. For people."""
    parameter_count: Annotated[int, Field(ge=0)]
    """For people."""
    multiply_accumulates_per_base_pixel: Annotated[float, Field(ge=0)]
    """What restoring one pixel of the base frame costs. For people."""


class PatchIndex(FileEntry):
    """Which network restores which patch: one file, read by the ranges of the segment table."""

    coding: str = "delta-zlib"
    """How a segment's bytes are written. A reader refuses a coding that it doesn't know."""


class PictureQuality(Frozen):
    """Distance from the normalised source, all pixels of the measured frames; dB, null where there is no error."""

    psnr_y: float | None
    """Pooled over the video: one mean squared error, then one logarithm."""
    psnr_rgb: float | None
    psnr_y_frame_mean: float | None
    """Mean of the frames' own figures (frames without any error count as 100 dB)."""
    psnr_rgb_frame_mean: float | None
    ssim_y: float
    """Mean SSIM of the luma plane (Wang et al. 2004, Gaussian window 11, sigma 1.5)."""
    paper_psnr_rgb: float | None
    """The paper's definition: pooled over patch interiors, `scale + 4` pixels next to each patch edge left out."""


class PrecisionLoss(Frozen):
    """What delivering the weights at `precision` costs against fp32, measured on some whole frames."""

    psnr_y_db: float
    psnr_rgb_db: float
    frames_measured: int


class Quality(Frozen):
    """Measured with the reference decoder on the delivered files. For people."""

    bit_depth: int
    """At which everything was compared: the peak is 255 or 1023."""
    frames_measured: int
    """An even sample of the video's frames, or all of them."""
    restored: PictureQuality
    bicubic: PictureQuality
    lanczos: PictureQuality
    f0: PictureQuality
    precision_loss: PrecisionLoss | None
    """Null without networks of our own."""
    files: tuple[FileEntry, ...] = ()
    """Report per segment, and error maps. Nothing that a decoder needs."""


class Provenance(Frozen):
    """What is needed to make the same bundle again. For people."""

    method: str
    settings: dict[str, Any]
    """Every encoding setting, resolved, the seed included."""
    software: dict[str, str]
    """Versions by name: stdo, python, torch, ffmpeg, onnxruntime."""
    device: str
    """What the networks were trained on, such as `cpu` or the GPU's name."""


class Manifest(Frozen):
    """The whole manifest: `manifest.json` at the bundle's root."""

    format: Literal["stdo-bundle"]
    format_version: Annotated[str, Field(pattern=r"^[1-9][0-9]*\.[0-9]+$")]
    bundle_id: str
    created_at: AwareDatetime
    """With its offset from UTC."""
    picture: Picture
    base_stream: BaseStream
    segments: SegmentTable
    playlist: FileEntry
    """The base stream as an HLS media playlist of byte ranges."""
    patch_grid: PatchGrid | None
    """Null without networks."""
    networks: Annotated[tuple[Network, ...], Field(max_length=255)]
    patch_index: PatchIndex | None
    """Null without networks: every frame is then shown as decoded."""
    source: Source | None = None
    quality: Quality | None = None
    provenance: Provenance | None = None

    def delivered_files(self) -> tuple[FileEntry, ...]:
        """The files that a decoder or a player needs, in the order in which it needs them."""
        networks = (network.file for network in self.networks if network.file is not None)
        index = () if self.patch_index is None else (self.patch_index,)
        return (self.segments, self.playlist, *networks, *index, self.base_stream)

    def all_files(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle but the manifest itself."""
        return (*self.delivered_files(), *(() if self.quality is None else self.quality.files))

    def byte_counts(self, manifest_byte_count: int) -> dict[str, int]:
        """Bytes of each part that is delivered: base_stream, networks, patch_index, tables, manifest, and the total."""
        parts = {
            "base_stream": self.base_stream.byte_count,
            "networks": sum(network.file.byte_count for network in self.networks if network.file is not None),
            "patch_index": 0 if self.patch_index is None else self.patch_index.byte_count,
            "tables": self.segments.byte_count + self.playlist.byte_count,
            "manifest": manifest_byte_count,
        }
        return {**parts, "total": sum(parts.values())}


_FOR_PEOPLE = {"source": None, "quality": None, "provenance": None}


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as UTF-8 JSON without white space, fields that have their default left out."""
    return manifest.model_dump_json(exclude_defaults=True).encode()


def strip_manifest(manifest: Manifest) -> bytes:
    """The manifest as `manifest_bytes`, without source, quality and provenance: for a copy that goes to viewers.

    The files of `quality/` are then no part of the bundle any more.
    """
    return manifest_bytes(manifest.model_copy(update=_FOR_PEOPLE))
