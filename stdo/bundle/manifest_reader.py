"""Read a manifest from bytes that anyone may have written, and refuse what breaks the format's rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from stdo.bundle.geometry import base_size, make_patch_grid
from stdo.bundle.manifest import FORMAT_MAJOR_VERSION, Manifest
from stdo.errors import InvalidManifestError, NotAManifestError, UnsupportedCodingError, UnsupportedVersionError

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX_BYTES = 64 << 20
"""Far above any real manifest; keeps a reader from loading whatever lies at an address."""
SEGMENT_MAX_NUMBERS = 1 << 26
"""Numbers in one segment of the patch index: what a reader must be ready to hold in memory."""
NETWORK_CODING = "onnx"
PATCH_INDEX_CODING = "delta-zlib"
_FIELDS_OF_KNOWN_VALUES = frozenset({"channels", "codec", "edge", "matrix", "range", "scale"})
"""docs/FORMAT.md, section 3.1, but for what _check_codings looks at."""
_SHOWN_FAULTS = 5


def parse_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Raises:
        NotAManifestError: the bytes are no bundle manifest.
        UnsupportedVersionError: its major version is unknown.
        UnsupportedCodingError: weights or patch index are written, or networks are fed, in a way unknown here;
            or another field on which restoring depends has an unknown value.
        InvalidManifestError: it breaks a rule of the format.
    """
    try:
        document = json.loads(data) if len(data) <= MANIFEST_MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise NotAManifestError(f"This is no bundle manifest: it is not JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != "stdo-bundle":
        raise NotAManifestError('This is no bundle manifest: it doesn\'t say "format": "stdo-bundle".')
    # In this order: whatever a later major version or another coding changes is no fault of the manifest.
    _check_version(document.get("format_version"))
    _check_codings(document)
    try:
        manifest = Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        _check_known_values(error)
        raise InvalidManifestError(_summary([_fault(detail) for detail in error.errors()])) from error
    if faults := list(_broken_rules(manifest)):
        raise InvalidManifestError(_summary(faults))
    return manifest


def _check_version(version: object) -> None:
    major, _, minor = version.partition(".") if isinstance(version, str) else ("", "", "")
    if not isinstance(version, str) or not (major.isdecimal() and minor.isdecimal()):
        raise InvalidManifestError(f"The manifest breaks the format: format_version is {version!r}, not like 1.0.")
    # Compared as text: Python refuses to read numbers of thousands of digits.
    if major.lstrip("0") != str(FORMAT_MAJOR_VERSION):
        raise UnsupportedVersionError(
            f"The bundle has format version {version:.20}; this library reads version {FORMAT_MAJOR_VERSION}. "
            "Update the stdo package."
        )


def _check_codings(document: dict[str, Any]) -> None:
    for number, network in enumerate(_objects(document.get("networks"))):
        coding, input_frames = network.get("coding", NETWORK_CODING), network.get("input_frames", [0])
        if coding != NETWORK_CODING:
            raise UnsupportedCodingError(
                f"Network {number} is written as {coding!r}; this reader knows {NETWORK_CODING!r}. "
                "Update the stdo package."
            )
        if input_frames != [0]:
            raise UnsupportedCodingError(
                f"Network {number} reads the frames {input_frames}; this reader restores from the frame itself only. "
                "Update the stdo package."
            )
    for patch_index in _objects([document.get("patch_index")]):
        coding = patch_index.get("coding", PATCH_INDEX_CODING)
        if coding != PATCH_INDEX_CODING:
            raise UnsupportedCodingError(
                f"The patch index is written as {coding!r}; this reader knows {PATCH_INDEX_CODING!r}. "
                "Update the stdo package."
            )


def _check_known_values(error: ValidationError) -> None:
    """Raise UnsupportedCodingError where a field on which restoring depends has a value that a later minor may add."""
    for detail in error.errors():
        if detail["type"] == "literal_error" and detail["loc"][-1] in _FIELDS_OF_KNOWN_VALUES:
            raise UnsupportedCodingError(
                f"The bundle has a value that this reader doesn't know: {_fault(detail)}. Update the stdo package."
            )


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list that is not validated yet."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _broken_rules(manifest: Manifest) -> Iterator[str]:
    """The rules that tie fields together (docs/FORMAT.md, sections 3 and 4)."""
    picture, grid = manifest.picture, manifest.patch_grid
    lr_size = base_size(picture.display_width, picture.scale), base_size(picture.display_height, picture.scale)
    if (picture.base_width, picture.base_height) != lr_size:
        yield f"picture: the low-resolution size of this display size and scale is {lr_size[0]}x{lr_size[1]}"
    expected_grid = make_patch_grid(
        base_width=picture.base_width,
        base_height=picture.base_height,
        patch_width=grid.patch_width,
        patch_height=grid.patch_height,
        halo=grid.halo,
    )
    if grid != expected_grid:
        yield f"patch_grid: these patches make {expected_grid.columns} columns and {expected_grid.rows} rows"
    if len({network.channels for network in manifest.networks}) > 1:
        yield "networks: all networks of a bundle read the same channels"
    next_frame = 0
    for number, segment in enumerate(manifest.patch_index.segments):
        if segment.first_frame != next_frame:
            yield f"patch_index.segments.{number}: starts at frame {segment.first_frame}, not {next_frame}"
        next_frame = segment.first_frame + segment.frame_count
        if segment.frame_count * grid.rows * grid.columns > SEGMENT_MAX_NUMBERS:
            yield f"patch_index.segments.{number}: holds more than {SEGMENT_MAX_NUMBERS} numbers"
    if next_frame != picture.frame_count:
        yield f"patch_index.segments: they end at frame {next_frame} of {picture.frame_count}"
    paths = [MANIFEST_NAME, *(entry.path for entry in manifest.all_files())]
    if len(set(paths)) != len(paths):
        yield "two files have the same path"


def _fault(detail: Any) -> str:
    return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"


def _summary(faults: list[str]) -> str:
    more = len(faults) - _SHOWN_FAULTS
    lines = [*faults[:_SHOWN_FAULTS], *([f"and {more} more"] if more > 0 else [])]
    return "The manifest breaks the format: " + "; ".join(lines) + "."
