"""Open a bundle from a folder or a URL. No byte of it is used before its hash was checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from stdo.bundle.files import BundleFiles, FolderFiles, HttpFiles
from stdo.bundle.manifest import FileEntry, Manifest, PatchIndexSegment
from stdo.bundle.manifest_reader import parse_manifest
from stdo.bundle.patch_index import NetworkNumbers, decode_segment
from stdo.errors import MalformedPatchIndexError, StdoError


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What `Bundle.verify` found about one file."""

    file: FileEntry
    problem: str | None
    """None where the file is as the manifest promises."""


class Bundle:
    """An open bundle. As a context manager, or by `close`, it removes what it fetched into a temporary folder."""

    def __init__(self, files: BundleFiles) -> None:
        """Read the manifest. Most callers use `open_bundle`."""
        self._files = files
        self._verified: dict[FileEntry, Path] = {}
        self.manifest_bytes = files.manifest_bytes()
        self.manifest: Manifest = parse_manifest(self.manifest_bytes)

    def path(self, file: FileEntry) -> Path:
        """A local file with the verified bytes of a file of the bundle, fetched if need be.

        Raises:
            DamagedBundleError: the file is missing, or differs from what the manifest promises.
            TransferError: it can't be fetched.
        """
        if file not in self._verified:
            self._verified[file] = self._files.verified_path(file)
        return self._verified[file]

    def read(self, file: FileEntry) -> bytes:
        """The verified bytes of a small file, such as a network. Raises as `path` does."""
        return self.path(file).read_bytes()

    def network_numbers(self, segment: PatchIndexSegment) -> NetworkNumbers:
        """A segment of the patch index: (segment.frame_count, rows * columns) uint8.

        Raises:
            MalformedPatchIndexError: it can't be decoded, or names a network that isn't there.
        """
        grid, network_count = self.manifest.patch_grid, len(self.manifest.networks)
        numbers = decode_segment(
            self.read(segment), frame_count=segment.frame_count, patch_count=grid.rows * grid.columns
        )
        if numbers.max() >= network_count:
            raise MalformedPatchIndexError(
                f"{segment.path} names network {numbers.max()}; the bundle has {network_count}, counted from 0."
            )
        return numbers

    def verify(self) -> Iterator[FileCheck]:
        """Check every file of the bundle anew, one by one: its bytes, and that the patch index can be followed."""
        self._verified.clear()
        for file in self.manifest.all_files():
            try:
                self.path(file)
                if isinstance(file, PatchIndexSegment):
                    self.network_numbers(file)
            except StdoError as error:
                yield FileCheck(file=file, problem=str(error))
            else:
                yield FileCheck(file=file, problem=None)

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
        cache_folder: where fetched files are kept, by their hash; by default a temporary folder.
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
