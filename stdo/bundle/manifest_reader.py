"""Read a manifest from bytes that anyone may have written, and refuse what breaks the format's rules."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from stdo.bundle.codecs import CODECS
from stdo.bundle.geometry import base_size, make_patch_grid
from stdo.bundle.manifest import FORMAT_MAJOR_VERSION, FORMAT_NAME, BaseStream, Manifest, Network, PatchGrid, Picture
from stdo.bundle.segments import RECORD_BYTES
from stdo.errors import InvalidManifestError, NotAManifestError, UnsupportedCodingError, UnsupportedVersionError

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX_BYTES = 64 << 20
"""Far above any real manifest; keeps a reader from loading whatever lies at an address."""
KNOWN_CODINGS = ("onnx", "general")
"""Codings of networks. The table stdo.networks.codings has the same names, and says how each becomes an upscaler."""
GENERAL_CODING = "general"
PATCH_INDEX_CODING = "delta-zlib"
_FIELDS_OF_KNOWN_VALUES = frozenset({"bit_depth", "channels", "codec", "edge", "matrix", "range", "scale"})
"""docs/FORMAT.md, section 3.1, but for what _check_codings looks at."""
_SHOWN_FAULTS = 5
_SHOWN_CHARACTERS = 40


def parse_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Raises:
        NotAManifestError: the bytes are no bundle manifest.
        UnsupportedVersionError: its major version is unknown.
        UnsupportedCodingError: networks or patch index are written, or networks are fed, in a way unknown here;
            or another field on which restoring depends has an unknown value.
        InvalidManifestError: it breaks a rule of the format.
    """
    document = _read_json(data)
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


def _read_json(data: bytes) -> dict[str, Any]:
    """The JSON object of a manifest, not validated yet."""
    if len(data) > MANIFEST_MAX_BYTES:
        raise NotAManifestError(f"This is no bundle manifest: it is too long (more than {MANIFEST_MAX_BYTES} bytes).")
    if data.startswith(BOM_UTF8):
        raise NotAManifestError("This is no bundle manifest: it begins with a byte order mark. Write it without one.")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotAManifestError(f"This is no bundle manifest: it is not JSON in UTF-8 ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise NotAManifestError(f'This is no bundle manifest: it doesn\'t say "format": "{FORMAT_NAME}".')
    return document


def _check_version(version: object) -> None:
    major, _, minor = version.partition(".") if isinstance(version, str) else ("", "", "")
    if not isinstance(version, str) or not (_is_number(major) and _is_number(minor)):
        raise InvalidManifestError(
            f"The manifest breaks the format: format_version is {_short(version)}, not like 1.0."
        )
    # Compared as text: Python refuses to read numbers of thousands of digits.
    if major.lstrip("0") == "":
        raise UnsupportedVersionError(
            f"The bundle has format version {version:.20}, which comes before every version that was ever in use. "
            "Have the bundle made again."
        )
    if major.lstrip("0") != str(FORMAT_MAJOR_VERSION):
        raise UnsupportedVersionError(
            f"The bundle has format version {version:.20}; this library reads version {FORMAT_MAJOR_VERSION}. "
            "Update the stdo package."
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _check_codings(document: dict[str, Any]) -> None:
    for number, network in enumerate(_objects(document.get("networks"))):
        coding, input_frames = network.get("coding"), network.get("input_frames", [0])
        if isinstance(coding, str) and coding not in KNOWN_CODINGS:
            raise UnsupportedCodingError(
                f"Network {number} is written as {_short(coding)}; this reader knows {' and '.join(KNOWN_CODINGS)}. "
                "Update the stdo package."
            )
        if input_frames != [0]:
            raise UnsupportedCodingError(
                f"Network {number} reads the frames {_short(input_frames)}; this reader restores from the frame itself "
                "only. Update the stdo package."
            )
    for patch_index in _objects([document.get("patch_index")]):
        coding = patch_index.get("coding", PATCH_INDEX_CODING)
        if coding != PATCH_INDEX_CODING:
            raise UnsupportedCodingError(
                f"The patch index is written as {_short(coding)}; this reader knows {PATCH_INDEX_CODING!r}. "
                "Update the stdo package."
            )


def _check_known_values(error: ValidationError) -> None:
    """Raise UnsupportedCodingError where a field on which restoring depends has a value that a later minor may add."""
    for detail in error.errors():
        if detail["type"] == "literal_error" and detail["loc"][-1] in _FIELDS_OF_KNOWN_VALUES:
            raise UnsupportedCodingError(
                f"The bundle has a value that this reader doesn't know: {_fault(detail)}. Update the stdo package."
            )


def _short(value: object) -> str:
    """A value as a message shows it, whatever its length."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list that is not validated yet."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _broken_rules(manifest: Manifest) -> Iterator[str]:
    """The rules that tie fields together (docs/FORMAT.md, sections 2 to 5)."""
    yield from _broken_size(manifest.picture)
    yield from _broken_stream(manifest.base_stream)
    yield from _broken_segments(manifest)
    if not (bool(manifest.networks) == (manifest.patch_grid is not None) == (manifest.patch_index is not None)):
        yield "patch_grid and patch_index: both are null without networks, and neither is with networks"
    if manifest.patch_grid is not None:
        yield from _broken_grid(manifest.patch_grid, manifest)
    for number, network in enumerate(manifest.networks):
        yield from (f"networks.{number}: {fault}" for fault in _broken_network(network))
    if len({network.channels for network in manifest.networks}) > 1:
        yield "networks: all networks of a bundle read the same channels"
    paths = [MANIFEST_NAME, *(entry.path for entry in manifest.all_files())]
    if len(set(paths)) != len(paths):
        yield "two files have the same path"


def _broken_size(picture: Picture) -> Iterator[str]:
    width, height = base_size(picture.display_width, picture.scale), base_size(picture.display_height, picture.scale)
    if (picture.base_width, picture.base_height) != (width, height):
        yield f"picture: base frames of this display size and scale are {width}x{height}"


def _broken_stream(stream: BaseStream) -> Iterator[str]:
    if stream.bit_depth not in CODECS[stream.codec].bit_depths:
        yield f"base_stream.bit_depth: {stream.codec} has no base stream of {stream.bit_depth} bits"
    if stream.time_base.numerator != 1:
        yield "base_stream.time_base: the numerator is 1"
    if stream.header.byte_count >= stream.byte_count:
        yield "base_stream.header.byte_count: nothing is left for the segments"


def _broken_segments(manifest: Manifest) -> Iterator[str]:
    table = manifest.segments
    if table.segment_count > manifest.picture.frame_count:
        yield f"segments.segment_count: {manifest.picture.frame_count} frames don't make {table.segment_count} segments"
    if table.byte_count != table.segment_count * RECORD_BYTES:
        yield f"segments.byte_count: {table.segment_count} segments take {table.segment_count * RECORD_BYTES} bytes"


def _broken_grid(grid: PatchGrid, manifest: Manifest) -> Iterator[str]:
    expected = make_patch_grid(
        base_width=manifest.picture.base_width,
        base_height=manifest.picture.base_height,
        patch_width=grid.patch_width,
        patch_height=grid.patch_height,
        halo=grid.halo,
    )
    if grid != expected:
        yield f"patch_grid: these patches make {expected.columns} columns and {expected.rows} rows"
    is_odd = grid.patch_width % 2 or grid.patch_height % 2 or grid.halo % 2
    if is_odd and any(network.channels == "yuv" for network in manifest.networks):
        yield "patch_grid: for yuv networks patch_width, patch_height and halo are even"


def _broken_network(network: Network) -> Iterator[str]:
    if network.coding != GENERAL_CODING:
        if network.file is None:
            yield f"file is null, which coding {GENERAL_CODING} alone allows"
        if network.general_sha256 is not None:
            yield f"general_sha256 belongs to coding {GENERAL_CODING}"
    elif network.general_sha256 is None:
        yield f"coding {GENERAL_CODING} needs general_sha256"
    elif network.file is not None and network.file.sha256 != network.general_sha256:
        yield "the copy of the general network has another SHA-256 than general_sha256"


def _fault(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else str(detail["msg"])


def _summary(faults: list[str]) -> str:
    more = len(faults) - _SHOWN_FAULTS
    lines = [*faults[:_SHOWN_FAULTS], *([f"and {more} more"] if more > 0 else [])]
    return "The manifest breaks the format: " + "; ".join(lines) + "."
