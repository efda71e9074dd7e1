"""Open a bundle from a folder or a URL. No byte of it is used before its hash was checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np

from stdo.bundle.files import BundleFiles, FolderFiles, HttpFiles
from stdo.bundle.geometry import FrameLayout
from stdo.bundle.manifest import FileEntry, Manifest, Network
from stdo.bundle.manifest_reader import parse_manifest
from stdo.bundle.patch_index import AS_DECODED, NetworkNumbers, decode_segment
from stdo.bundle.playlist import check_playlist
from stdo.bundle.segments import (
    ByteRange,
    Segment,
    check_coverage,
    decode_segment_table,
    frames_of_segment,
    segment_of_frame,
)
from stdo.errors import MalformedPatchIndexError, MissingFileError, StdoError


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What `Bundle.verify` found about one file."""

    file: FileEntry
    problem: str | None
    """None where the file is as the manifest promises."""


class Bundle:
    """An open bundle. As a context manager, or by `close`, it removes what it fetched into a temporary folder.

    Each method that reads raises DamagedBundleError where a file is missing or differs from what manifest and segment
    table promise, and TransferError where it can't be fetched.
    """

    def __init__(self, files: BundleFiles) -> None:
        """Read the manifest. Most callers use `open_bundle`."""
        self._files = files
        self._verified: dict[FileEntry, Path] = {}
        self.manifest_bytes = files.manifest_bytes()
        self.manifest: Manifest = parse_manifest(self.manifest_bytes)
        self.layout = FrameLayout.of(self.manifest)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segment table. Raises MalformedSegmentTableError."""
        table = self.manifest.segments
        segments = decode_segment_table(
            self.read(table),
            segment_count=table.segment_count,
            has_patch_index=self.manifest.patch_index is not None,
        )
        check_coverage(segments, self.manifest)
        return segments

    def segment_frames(self, segment: Segment) -> range:
        """The numbers of a segment's frames."""
        place = segment_of_frame(self.segments, segment.first_frame)
        return frames_of_segment(self.segments, place, self.manifest.picture.frame_count)

    def header_bytes(self) -> bytes:
        """What comes before the first segment of the base stream.

        Together with the bytes of any segment it is an MP4 file that can be played.
        """
        header = self.manifest.base_stream.header
        part = ByteRange(offset=0, byte_count=header.byte_count, sha256=header.sha256)
        return self._files.verified_bytes(self.manifest.base_stream, part)

    def segment_bytes(self, segment: Segment) -> bytes:
        """A segment's part of the base stream; nothing else of the file is fetched."""
        return self._files.verified_bytes(self.manifest.base_stream, segment.base_stream)

    def numbers(self, segment: Segment) -> NetworkNumbers:
        """A segment's part of the patch index; nothing else of the file is fetched.

        Returns:
            (frames, rows * columns) uint8, network numbers or AS_DECODED; (frames, 0) in a bundle without networks.

        Raises:
            MalformedPatchIndexError: it can't be decoded, or names a network that isn't there.
        """
        index, grid, part = self.manifest.patch_index, self.manifest.patch_grid, segment.patch_index
        frame_count = len(self.segment_frames(segment))
        if index is None or grid is None or part is None:
            return np.empty((frame_count, 0), np.uint8)
        numbers = decode_segment(
            self._files.verified_bytes(index, part), frame_count=frame_count, patch_count=grid.patch_count
        )
        unknown = numbers[(numbers >= len(self.manifest.networks)) & (numbers != AS_DECODED)]
        if unknown.size:
            raise MalformedPatchIndexError(
                f"The patch index names network {unknown[0]} in the segment that begins with frame "
                f"{segment.first_frame}; the bundle has {len(self.manifest.networks)}, counted from 0."
            )
        return numbers

    def network_bytes(self, network: Network) -> bytes | None:
        """A network's file; None where the bundle doesn't carry it, since every client has it (coding `general`)."""
        return None if network.file is None else self.read(network.file)

    def read(self, file: FileEntry) -> bytes:
        """The bytes of a small file, such as a network."""
        whole = ByteRange(offset=0, byte_count=file.byte_count, sha256=file.sha256)
        return self._files.verified_bytes(file, whole)

    def path(self, file: FileEntry) -> Path:
        """A local file with the bytes of a file of the bundle, fetched if need be."""
        if file not in self._verified:
            self._verified[file] = self._files.verified_path(file)
        return self._verified[file]

    def verify(self) -> Iterator[FileCheck]:
        """Check every file of the bundle anew, one by one: its bytes, and that tables and patch index can be followed.

        Reports may be left out of a copy: one that isn't there isn't told. Whether the stream can be decoded and the
        networks run is not looked at.
        """
        self._verified.clear()
        self.__dict__.pop("segments", None)
        needed = self.manifest.delivered_files()
        for file in self.manifest.all_files():
            try:
                self.path(file)
                self._verify_content(file)
            except StdoError as error:
                if file in needed or not isinstance(error, MissingFileError):
                    yield FileCheck(file=file, problem=str(error))
            else:
                yield FileCheck(file=file, problem=None)

    def _verify_content(self, file: FileEntry) -> None:
        """What the segment table and a file, whose bytes are the promised ones, say of each other."""
        manifest = self.manifest
        if file is manifest.segments:
            assert self.segments
        elif file is manifest.playlist:
            check_playlist(self.read(file), segments=self.segments, manifest=manifest)
        elif file is manifest.base_stream:
            self.header_bytes()
            for segment in self.segments:
                self.segment_bytes(segment)
        elif file is manifest.patch_index:
            for segment in self.segments:
                self.numbers(segment)

    def close(self) -> None:
        """Remove what was fetched into a temporary folder."""
        self._verified.clear()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(
    path_or_url: str | Path, *, cache_folder: Path | None = None, http: httpx.Client | None = None
) -> Bundle:
    """Open a bundle.

    Args:
        path_or_url: the bundle's folder or its manifest.json, on disk or by http(s).
        cache_folder: where fetched files and segments are kept, by their hash; by default a temporary folder.
        http: an own client for a bundle behind a key or a proxy. It is not closed.

    Raises:
        BundleNotFoundError: there is none.
        TransferError: it can't be reached.
        NotAManifestError, UnsupportedVersionError, UnsupportedCodingError, InvalidManifestError: it can't be read.
    """
    if isinstance(path_or_url, str) and path_or_url.startswith(("http://", "https://")):
        files: BundleFiles = HttpFiles(path_or_url, cache_folder=cache_folder, http=http)
    else:
        files = FolderFiles(Path(path_or_url))
    try:
        return Bundle(files)
    except BaseException:
        files.close()
        raise
