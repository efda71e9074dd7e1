"""A ladder: bundles of one video whose segments are cut at the same frames (docs/FORMAT.md, section 13)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from stdo.bundle.bundle import Bundle
from stdo.bundle.fields import ByteCount, FileEntry, Frozen, PictureSize, Rational, RelativePath
from stdo.bundle.manifest import Scale
from stdo.bundle.mime import codecs_of
from stdo.bundle.playlist import Variant, multivariant_playlist, segment_durations
from stdo.errors import LadderError

LADDER_NAME = "ladder.json"
LADDER_MAX_BYTES = 1 << 20
BitsPerSecond = Annotated[int, Field(gt=0, lt=2**53)]


class Rung(Frozen):
    """One bundle of a ladder. Paths are relative to the ladder's folder."""

    manifest: FileEntry
    playlist: RelativePath
    byte_count: ByteCount
    """Of all files that a decoder or a player needs, and the manifest."""
    network_byte_count: ByteCount
    """Of the networks among them, which are needed once and not in each segment."""
    bandwidth: BitsPerSecond
    """Of the densest segment, base stream and patch index together."""
    average_bandwidth: BitsPerSecond
    """Of all segments, likewise."""
    mime_type: str
    scale: Scale
    base_width: PictureSize
    base_height: PictureSize
    display_width: PictureSize
    display_height: PictureSize


class Ladder(Frozen):
    """`ladder.json`: the rungs, from the lowest average bandwidth to the highest."""

    format: Literal["stdo-ladder"]
    format_version: Annotated[str, Field(pattern=r"^1\.[0-9]+$")]
    average_frame_rate: Rational
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=64)]


def make_ladder(bundles: Mapping[str, Bundle]) -> Ladder:
    """The ladder of some bundles.

    Args:
        bundles: by the path of their manifest, relative to the ladder's folder.

    Raises:
        LadderError: they are not of one video, or their segments are not cut at the same frames.
    """
    _check_alike(list(bundles.values()))
    rungs = [_rung(path, bundle) for path, bundle in bundles.items()]
    return Ladder(
        format="stdo-ladder",
        format_version="1.0",
        average_frame_rate=next(iter(bundles.values())).manifest.picture.average_frame_rate,
        rungs=tuple(sorted(rungs, key=lambda rung: rung.average_bandwidth)),
    )


def ladder_bytes(ladder: Ladder) -> bytes:
    """`ladder.json`."""
    return ladder.model_dump_json().encode()


def ladder_playlist(ladder: Ladder) -> str:
    """`ladder.m3u8`: the rungs' base streams, for any HLS player."""
    return multivariant_playlist(
        [
            Variant(
                uri=rung.playlist,
                bandwidth=rung.bandwidth,
                average_bandwidth=rung.average_bandwidth,
                width=rung.base_width,
                height=rung.base_height,
                frame_rate=ladder.average_frame_rate.fraction,
                codecs=codecs_of(rung.mime_type),
            )
            for rung in ladder.rungs
        ]
    )


def parse_ladder(data: bytes) -> Ladder:
    """Read `ladder.json`.

    Raises:
        LadderError: it is none, or of a version that this reader doesn't know.
    """
    if len(data) > LADDER_MAX_BYTES:
        raise LadderError(f"The ladder is too long: more than {LADDER_MAX_BYTES} bytes.")
    try:
        ladder = Ladder.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or LADDER_NAME
        raise LadderError(f"The ladder can't be read: {place}: {first['msg']}.") from error
    if any(low.average_bandwidth > high.average_bandwidth for low, high in pairwise(ladder.rungs)):
        raise LadderError("The ladder's rungs don't rise in average bandwidth.")
    if len({rung.manifest.path for rung in ladder.rungs}) != len(ladder.rungs):
        raise LadderError("Two rungs of the ladder are the same bundle.")
    return ladder


def check_ladder(ladder: Ladder, bundles: Sequence[Bundle]) -> None:
    """Check a ladder against its bundles, given in the order of its rungs.

    Raises:
        LadderError: a rung isn't what the ladder says, or the segments are not cut at the same frames.
    """
    for rung, bundle in zip(ladder.rungs, bundles, strict=True):
        if rung != _rung(rung.manifest.path, bundle):
            raise LadderError(f"{rung.manifest.path} is not the bundle that the ladder says.")
    _check_alike(bundles)


def _check_alike(bundles: Sequence[Bundle]) -> None:
    cuts = {tuple(_cuts(bundle)) for bundle in bundles}
    pictures = [bundle.manifest.picture for bundle in bundles]
    if len(cuts) != 1 or len({(picture.frame_count, picture.duration_seconds) for picture in pictures}) != 1:
        raise LadderError("The rungs of a ladder are one video, and their segments begin with the same frames.")


def _cuts(bundle: Bundle) -> list[tuple[int, Fraction]]:
    """Number and time in seconds of each segment's first frame."""
    time_base = bundle.manifest.base_stream.time_base.fraction
    return [(segment.first_frame, segment.time_ticks * time_base) for segment in bundle.segments]


def _rung(path: str, bundle: Bundle) -> Rung:
    manifest = bundle.manifest
    picture, stream = manifest.picture, manifest.base_stream
    byte_counts = manifest.byte_counts(len(bundle.manifest_bytes))
    durations = segment_durations(
        bundle.segments, time_base=stream.time_base.fraction, duration_seconds=picture.duration_seconds
    )
    bits = [
        8 * (segment.base_stream.byte_count + (segment.patch_index.byte_count if segment.patch_index else 0))
        for segment in bundle.segments
    ]
    return Rung(
        manifest=FileEntry(
            path=path,
            byte_count=len(bundle.manifest_bytes),
            sha256=hashlib.sha256(bundle.manifest_bytes).hexdigest(),
        ),
        playlist=str(PurePosixPath(path).parent / manifest.playlist.path),
        byte_count=byte_counts["total"],
        network_byte_count=byte_counts["networks"],
        bandwidth=max(ceil(count / seconds) for count, seconds in zip(bits, durations, strict=True)),
        average_bandwidth=ceil(sum(bits) / sum(durations)),
        mime_type=stream.mime_type,
        scale=picture.scale,
        base_width=picture.base_width,
        base_height=picture.base_height,
        display_width=picture.display_width,
        display_height=picture.display_height,
    )
