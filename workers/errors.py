"""What can go wrong in an encode for a reason that the user can see: one named class a case.

Anything else that a stage raises (a full disk, a killed child) is trouble of the machine, and worth another attempt.
"""

from __future__ import annotations

from typing import ClassVar

from stdo.service.resources import Failure


class EncodingError(Exception):
    """Base of what the user is told. The message says what happened and what to do about it."""

    type: ClassVar[str]
    """A stable word."""
    title: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def as_failure(self) -> Failure:
        """The same, as the API shows it."""
        return Failure(type=self.type, title=self.title, detail=self.detail)


class FFmpegFailedError(EncodingError):
    """ffmpeg ended with an error, or hit one of its resource limits."""

    type = "ffmpeg_failed"
    title = "FFmpeg could not process the video"


class FFmpegTimedOutError(EncodingError):
    type = "ffmpeg_timed_out"
    title = "FFmpeg took too long"


class FrameMismatchError(EncodingError):
    """Two readings of the same video disagree in the number or the times of its frames."""

    type = "frame_mismatch"
    title = "The video does not decode the same way twice"


class TrainingDivergedError(EncodingError):
    """A network's weights are no numbers any more."""

    type = "training_diverged"
    title = "The training of a network diverged"


class TooManyPatchesError(EncodingError):
    """The video has more patches than can be scored and grouped in memory."""

    type = "too_many_patches"
    title = "The video has too many patches"


class RefusedSourceError(EncodingError):
    """Base of what can't be encoded at all: trying again changes nothing."""


class NotAVideoError(RefusedSourceError):
    type = "not_a_video"
    title = "The file is not a video that this service reads"


class NoVideoStreamError(RefusedSourceError):
    type = "no_video_stream"
    title = "The file has no video stream"


class UnsupportedCodecError(RefusedSourceError):
    type = "unsupported_codec"
    title = "The video codec is not supported"


class EncryptedVideoError(RefusedSourceError):
    type = "encrypted_video"
    title = "The video is encrypted"


class NoFramesError(RefusedSourceError):
    type = "no_frames"
    title = "The video has no frames"


class CorruptVideoError(RefusedSourceError):
    type = "corrupt_video"
    title = "The video is damaged"


class ChangingPictureError(RefusedSourceError):
    type = "changing_picture"
    title = "The picture's size or format changes within the video"


class UnsupportedColourError(RefusedSourceError):
    type = "unsupported_colour"
    title = "The video's colours can't be converted"


class VideoTooLargeError(RefusedSourceError):
    type = "video_too_large"
    title = "The picture is too large"


class PictureTooSmallError(RefusedSourceError):
    type = "picture_too_small"
    title = "The picture is too small"


class VideoTooLongError(RefusedSourceError):
    type = "video_too_long"
    title = "The video is too long"


class TooManyStreamsError(RefusedSourceError):
    type = "too_many_streams"
    title = "The file has too many streams"
