"""The errors of the library. Each message says what happened and what to do about it."""

from __future__ import annotations


class StdoError(Exception):
    """Base of every error that the library raises on purpose. `str(error)` is meant for a person."""


class BundleNotFoundError(StdoError):
    """There is no bundle at the place given."""


class NotAManifestError(StdoError):
    """The file is no bundle manifest at all."""


class InvalidManifestError(StdoError):
    """The manifest breaks a rule of the format."""


class UnsupportedVersionError(StdoError):
    """The bundle's major format version is one that this library doesn't know."""


class UnsupportedCodingError(StdoError):
    """The bundle needs something of the format that this library can't read, such as a coding of weights."""


class DamagedBundleError(StdoError):
    """A file of the bundle is missing, or its bytes are not those that the manifest promises."""


class MissingFileError(DamagedBundleError):
    """A file of the bundle isn't there."""


class TransferError(StdoError):
    """A file can't be fetched from where the bundle lies."""


class MalformedPatchIndexError(StdoError):
    """A patch index segment can't be decoded, or names a network that isn't there."""


class VideoError(StdoError):
    """A video can't be read or written."""


class NetworkError(StdoError):
    """A network can't be loaded or run, or doesn't answer as the format demands."""


class FrameRangeError(StdoError):
    """The frames asked for are not in the video."""


class MalformedSegmentTableError(StdoError):
    """The segment table can't be decoded, or its segments don't follow one another or don't fill the files."""


class MalformedPlaylistError(StdoError):
    """An HLS playlist can't be read, or doesn't say what the segment table says."""


class LadderError(StdoError):
    """A ladder can't be read, or its rungs are not bundles of one video with segments cut alike."""


class MalformedPatchErrorsError(StdoError):
    """The report of each patch's error can't be read."""
