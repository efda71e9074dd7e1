"""Where everything lies in the object store. A prefix ends with a slash."""

from __future__ import annotations


def video_prefix(video_id: str) -> str:
    """All objects of a video."""
    return f"videos/{video_id}/"


def source_key(video_id: str) -> str:
    """The uploaded file."""
    return f"{video_prefix(video_id)}source"


def probe_prefix(video_id: str, part_id: str, attempt: int) -> str:
    """What an attempt to probe a video makes."""
    return f"{video_prefix(video_id)}probe/{part_id}/{attempt}/"


def work_key(job_id: str, name: str) -> str:
    """A file that passes between a job's parts."""
    return f"jobs/{job_id}/work/{name}"


def bundle_prefix(job_id: str, attempt: int) -> str:
    """Where an attempt to finish a job puts its bundle.

    No two attempts use it at the same time, and none comes after the one that succeeds. So what is published never
    changes.
    """
    return f"bundles/{job_id}/{attempt}/"


def job_prefixes(job_id: str) -> tuple[str, ...]:
    """All objects of a job, its bundle included."""
    return (f"jobs/{job_id}/", f"bundles/{job_id}/")
