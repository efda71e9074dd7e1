"""The errors that several routes document."""

from __future__ import annotations

from app.http import problems
from app.http.problems import ProblemError, invalid_field
from app.openapi.documentation import document
from app.openapi.examples import JOB_ID, VIDEO_ID
from core.errors import DatabaseUnavailableError, InvalidApiKeyError, JobNotFoundError, VideoNotFoundError

COMMON_PROBLEMS = document(
    ProblemError(problems.MISSING_API_KEY, "Send an API key as `Authorization: Bearer <key>`."),
    InvalidApiKeyError(),
    ProblemError(problems.FOREIGN_ORIGIN, "This service runs without API keys, and so answers only to localhost."),
    invalid_field("query.limit", "Input should be less than or equal to 100"),
    ProblemError(problems.INTERNAL_ERROR, "Its log has the reason under the id 0b1c2d3e4f5a4b6c8d9e0f1a2b3c4d5e."),
    DatabaseUnavailableError("The database does not answer. Try again in a few seconds."),
)
"""What any route may answer."""

UPLOAD_PROBLEMS = (
    ProblemError(problems.MALFORMED_MULTIPART, "The body ends before its closing boundary."),
    ProblemError(problems.UPLOAD_STALLED, "Nothing came for 60 seconds. Send the file again."),
    ProblemError(problems.CONTENT_TOO_LARGE, "The file may have at most 21474836480 bytes."),
    ProblemError(problems.UNSUPPORTED_MEDIA_TYPE, "Send multipart/form-data with the video in the part `file`."),
    invalid_field("file", "required: the video itself"),
    ProblemError(problems.STORAGE_FULL, "The service has no room left for this file."),
)
INVALID_SETTING = invalid_field("settings.training.steps", "Input should be greater than or equal to 1")
VIDEO_NOT_FOUND = VideoNotFoundError(VIDEO_ID)
JOB_NOT_FOUND = JobNotFoundError(JOB_ID)
