"""The manifest of a bundle, format version 1: frozen types, from which the JSON Schema is generated.

`docs/FORMAT.md` is the normative text. A reader ignores fields that it doesn't know (a later minor version may add
some) and refuses a major version that it doesn't know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

FORMAT_MAJOR_VERSION = 1
FORMAT_VERSION = "1.0"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=255),
]
Scale = Literal[2, 3, 4]
ByteCount = Annotated[int, Field(ge=0, lt=2**53)]
PictureSize = Annotated[int, Field(gt=0, le=16_384)]
FrameCount = Annotated[int, Field(gt=0, lt=2**31)]


class _Frozen(BaseModel):
    # Attribute docstrings become the descriptions of the JSON Schema.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Rational(_Frozen):
    """An exact fraction, such as 30000/1001 frames per second."""

    numerator: Annotated[int, Field(gt=0)]
    denominator: Annotated[int, Field(gt=0)]


class FileEntry(_Frozen):
    """A file of the bundle, by its path relative to the manifest's folder."""

    path: RelativePath
    byte_count: ByteCount
    sha256: Sha256


class Normalisation(_Frozen):
    """One thing that was unusual about the source, and what was done about it."""

    code: str
    """A stable word, such as `rotation_applied` or `ten_bit_to_eight`."""
    detail: str
    """One sentence for a person."""


class Source(_Frozen):
    """What the uploaded file really was, before any normalisation."""

    sha256: Sha256
    byte_count: Annotated[int, Field(gt=0)]
    container: str
    video_codec: str
    pixel_format: str
    coded_width: Annotated[int, Field(gt=0)]
    coded_height: Annotated[int, Field(gt=0)]
    rotation_degrees: Literal[0, 90, 180, 270]
    """Clockwise rotation that the file asks a player to apply."""
    frame_count: Annotated[int, Field(gt=0)]
    """Counted by decoding, not read from a header."""
    duration_seconds: Annotated[float, Field(gt=0)]
    average_frame_rate: Rational
    variable_frame_rate: bool
    audio_codec: str | None
    input_normalisations: tuple[Normalisation, ...] = ()


class Colour(_Frozen):
    """How to read the 8-bit Y'CbCr planes of source, low-resolution stream and restored picture (ITU-T H.273)."""

    matrix: Literal["bt601", "bt709", "bt2020"]
    range: Literal["limited", "full"]
    primaries: str
    """FFmpeg's name of the H.273 colour primaries, or `unknown`."""
    transfer: str
    """FFmpeg's name of the H.273 transfer characteristics, or `unknown`."""


class Picture(_Frozen):
    """Geometry and time of the restored picture. All sizes in pixels."""

    scale: Scale
    display_width: PictureSize
    """Width of the restored picture; what exceeds it to the right is cut off."""
    display_height: PictureSize
    """Likewise; what exceeds it at the bottom is cut off."""
    base_width: Annotated[int, Field(gt=0, multiple_of=2)]
    """2 * ceil(display_width / (2 * scale))"""
    base_height: Annotated[int, Field(gt=0, multiple_of=2)]
    """2 * ceil(display_height / (2 * scale))"""
    frame_count: FrameCount
    average_frame_rate: Rational
    variable_frame_rate: bool
    """Each frame's own time is the presentation timestamp of its low-resolution frame."""
    duration_seconds: Annotated[float, Field(gt=0)]
    colour: Colour


class PatchGrid(_Frozen):
    """How a low-resolution frame is cut into patches. All sizes in low-resolution pixels."""

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


class BaseStream(FileEntry):
    """The low-resolution video, playable on its own: fragmented MP4."""

    codec: Literal["h264", "hevc", "av1"]
    lossless: bool
    audio_codec: str | None


class Network(FileEntry):
    """One super-resolution network. Its number in the patch index is its place in the manifest's list, from 0."""

    coding: str = "onnx"
    """How the weights are written. A reader refuses a coding that it doesn't know."""
    architecture: str
    """Its name, such as `espcn`. For people."""
    channels: Literal["rgb", "luma"]
    """What it reads and writes: R'G'B', or luma alone (chroma is then interpolated)."""
    input_frames: tuple[int, ...] = (0,)
    """Frames read, relative to the restored one. (0,) is this frame alone."""
    precision: Literal["int8", "fp16", "fp32"]
    """How exact the delivered weights are."""
    parameter_count: Annotated[int, Field(gt=0)]
    multiply_accumulates_per_base_pixel: Annotated[float, Field(gt=0)]
    """What restoring one low-resolution pixel costs."""


class PatchIndexSegment(FileEntry):
    """The patch index of some whole, consecutive frames."""

    first_frame: Annotated[int, Field(ge=0)]
    """Number of its first frame, counted from 0 in order of presentation."""
    frame_count: FrameCount


class PatchIndex(_Frozen):
    """Which network restores which patch."""

    coding: str = "delta-zlib"
    """How a segment's bytes are written. A reader refuses a coding that it doesn't know."""
    segments: tuple[PatchIndexSegment, ...]


class PictureQuality(_Frozen):
    """Distance from the normalised source, all pixels of all frames, 8 bit; dB, null where there is no error."""

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


class PrecisionLoss(_Frozen):
    """What delivering the weights at `precision` costs against fp32, measured on some whole frames."""

    psnr_y_db: float
    psnr_rgb_db: float
    frames_measured: Annotated[int, Field(gt=0)]


class Quality(_Frozen):
    """Measured with the reference decoder on the delivered files."""

    restored: PictureQuality
    bicubic: PictureQuality
    lanczos: PictureQuality
    f0: PictureQuality
    precision_loss: PrecisionLoss
    files: tuple[FileEntry, ...] = ()
    """Report per segment, error maps and heatmaps. Nothing that a decoder needs."""


class Provenance(_Frozen):
    """What is needed to make the same bundle again."""

    method: str
    settings: dict[str, Any]
    """Every encoding setting, resolved, the seed included."""
    software: dict[str, str]
    """Versions by name: stdo, python, torch, ffmpeg, onnxruntime."""
    device: str
    """What the networks were trained on, such as `cpu` or the GPU's name."""


class Manifest(_Frozen):
    """The whole manifest: `manifest.json` at the bundle's root."""

    format: Literal["stdo-bundle"] = "stdo-bundle"
    format_version: Annotated[str, Field(pattern=r"^[1-9][0-9]*\.[0-9]+$")] = FORMAT_VERSION
    bundle_id: str
    created_at: AwareDatetime
    """With its offset from UTC."""
    source: Source
    picture: Picture
    patch_grid: PatchGrid
    base_stream: BaseStream
    networks: Annotated[tuple[Network, ...], Field(min_length=1, max_length=256)]
    patch_index: PatchIndex
    quality: Quality
    provenance: Provenance

    def delivered_files(self) -> tuple[FileEntry, ...]:
        """The files that a decoder needs, in the order in which it needs them."""
        return (self.base_stream, *self.networks, *self.patch_index.segments)

    def all_files(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle but the manifest itself."""
        return (*self.delivered_files(), *self.quality.files)

    def byte_counts(self, manifest_byte_count: int) -> dict[str, int]:
        """Bytes of each part that a decoder needs: base_stream, networks, patch_index, manifest, and their total."""
        parts = {
            "base_stream": self.base_stream.byte_count,
            "networks": sum(network.byte_count for network in self.networks),
            "patch_index": sum(segment.byte_count for segment in self.patch_index.segments),
            "manifest": manifest_byte_count,
        }
        return {**parts, "total": sum(parts.values())}
