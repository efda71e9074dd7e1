"""The service's HTTP client for programs that wait for each answer. `stdo.service.async_client` is for asyncio.

What is sent is in `api_calls`, how an answer is read in `answers`, what is tried again in `patience`, how a job is
followed in `polling`, how a bundle is written in `download`. Here, and in the other client, is only the I/O.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import EventSource

from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_NAME
from stdo.errors import StdoError
from stdo.service import api_calls as calls
from stdo.service.answers import named_errors
from stdo.service.api_errors import EventStreamUnavailableError
from stdo.service.connection import check_bundle, http_options, open_upload
from stdo.service.download import PARALLEL_DOWNLOADS, Fetch, TransferProgress
from stdo.service.patience import CallAttempts, Patience
from stdo.service.polling import EventCursor, JobPoll
from stdo.service.resources import TERMINAL_JOB_STATES, Job, JobEvent, JobState, Preset, Video, VideoState
from stdo.service.threads import work_in_threads

Answer = TypeVar("Answer")


class Client:
    """The service. May be shared by threads. Every method raises ApiError where the service refuses, and
    ServiceUnreachableError where it doesn't answer."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 60.0,
    ) -> None:
        """
        Args:
            base_url: the service's address, such as `http://127.0.0.1:8000`; one with a path is fine, too.
            api_key: sent as `Authorization: Bearer` to this service alone: a redirect to a store doesn't carry it.
            timeout_seconds: for an answer to begin, or to go on.
            patience_seconds: how long `wait`, `events`, `fetch` and whatever sends something bear a service that is
                away, say while it restarts. It begins anew with every byte that comes.

        Raises:
            InvalidServiceUrlError: the address is not http or https, or the key can't be in a header.
        """
        self._http = httpx.Client(**http_options(base_url, api_key, timeout_seconds))
        self._patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def upload(self, path: Path, *, on_progress: TransferProgress | None = None) -> Video:
        """Sends a video without encoding it. Memory use doesn't grow with its size. Raises UnreadableFileError."""
        with open_upload(path, on_progress) as file:
            return self._send(calls.upload_video(path.name, file))

    def create_job(self, video_id: str, *, preset: str | None = None, settings: Mapping[str, Any] | None = None) -> Job:
        """Starts an encode of an uploaded video. `settings` changes some of the preset's, in the same shape."""
        return self._send(calls.create_job(video_id, preset, settings or {}))

    def encode(
        self,
        path: Path,
        *,
        preset: str | None = None,
        settings: Mapping[str, Any] | None = None,
        on_progress: TransferProgress | None = None,
    ) -> Job:
        """Sends a video and starts its encode, in one request. `on_progress` follows the upload."""
        with open_upload(path, on_progress) as file:
            return self._send(calls.encode(path.name, file, preset, settings or {}))

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._send(calls.get_job(job_id))

    def jobs(self, *, state: JobState | None = None, video_id: str | None = None) -> Iterator[Job]:
        """All jobs, newest first, asked for page by page."""
        cursor: str | None = None
        while True:
            page = self._send(calls.list_jobs(state, video_id, cursor))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def video(self, video_id: str) -> Video:
        """A video, and what a worker found it to be."""
        return self._send(calls.get_video(video_id))

    def videos(self, *, state: VideoState | None = None) -> Iterator[Video]:
        """All videos, newest first, asked for page by page."""
        cursor: str | None = None
        while True:
            page = self._send(calls.list_videos(state, cursor))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def presets(self) -> tuple[Preset, ...]:
        """The named presets, each with all its settings."""
        return self._send(calls.list_presets()).items

    def cancel(self, job_id: str) -> Job:
        """Asks for a job to be stopped; it may take a moment until its state says so."""
        return self._send(calls.cancel_job(job_id))

    def delete(self, job_id: str) -> None:
        """Deletes a job that has ended, with its bundle."""
        self._send(calls.delete_job(job_id))

    def delete_video(self, video_id: str) -> None:
        """Deletes an uploaded video."""
        self._send(calls.delete_video(video_id))

    def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> Job:
        """The job once it has succeeded, failed or was cancelled, by polling. Raises WaitTimeoutError."""
        for job in self._polled(job_id, timeout_seconds):
            last = job
        return last

    def events(self, job_id: str, *, last_event_id: int = 0) -> Iterator[JobEvent]:
        """The job's history after `last_event_id`, then what happens, until the job has ended. A broken stream goes on
        where it broke. Raises EventStreamUnavailableError where there is none; `iterate_progress` polls instead."""
        cursor, patience = EventCursor(job_id, last_event_id), self._patience()
        while not cursor.finished:
            try:
                yield from self._stream_events(cursor, patience)
                if cursor.in_doubt and self.job(job_id).state in TERMINAL_JOB_STATES:
                    return
                pause_seconds = cursor.pause_seconds
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            time.sleep(0.0 if cursor.finished else pause_seconds)

    def iterate_progress(self, job_id: str) -> Iterator[JobEvent | Job]:
        """Each change of state, stage and progress until the job has ended: from the stream, else by polling."""
        try:
            yield from self.events(job_id)
        except EventStreamUnavailableError:
            yield from self._polled(job_id, timeout_seconds=None)

    def fetch(
        self, job_id: str, folder: Path, *, reports: bool = False, on_progress: TransferProgress | None = None
    ) -> Path:
        """Downloads what a decoder needs of a job's bundle, checks every hash, and returns the folder.

        Files that are in the folder and right are not asked for again, and a file that breaks off goes on where it
        broke. `reports` takes quality reports and error maps, too. `on_progress` is called from threads, one at a time.

        Raises:
            NoBundleError: the job has none (yet).
            BundleFolderError: the folder can't be written, or holds another bundle.
            DownloadMismatchError: a file isn't what the manifest promises.
        """
        check_bundle(self.job(job_id))
        fetch = Fetch(self._manifest_bytes(job_id), folder, on_progress, reports=reports)
        try:
            missing = fetch.missing_files()
            work_in_threads(lambda one: self._download(job_id, fetch, one), missing, thread_count=PARALLEL_DOWNLOADS)
        except BaseException:
            fetch.stop()
            raise
        return fetch.finish()

    def _send(self, call: calls.Call[Answer]) -> Answer:
        attempts = CallAttempts(call, self._patience())
        while True:
            try:
                with named_errors(self._http.base_url):
                    response = self._http.send(call.request(self._http))
                return call.read(response)
            except StdoError as error:
                pause_seconds = attempts.pause_after(error)
            time.sleep(pause_seconds)

    @contextmanager
    def _stream(self, call: calls.Call[Answer]) -> Iterator[Answer]:
        """An answer whose body is still to be read. Redirects are followed; httpx keeps the key from other hosts."""
        with named_errors(self._http.base_url):
            response = self._http.send(call.request(self._http), stream=True, follow_redirects=True)
            try:
                if response.is_error:
                    response.read()
                yield call.read(response)
            finally:
                response.close()

    def _polled(self, job_id: str, timeout_seconds: float | None) -> Iterator[Job]:
        poll, patience = JobPoll(job_id, timeout_seconds), self._patience()
        while not poll.finished:
            try:
                if job := poll.take(self._send(poll.next_call())):
                    yield job
                patience.answered()
                pause_seconds = poll.pause_seconds
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            time.sleep(0.0 if poll.finished else pause_seconds)

    def _stream_events(self, cursor: EventCursor, patience: Patience) -> Iterator[JobEvent]:
        with self._stream(cursor.next_call()) as response:
            patience.answered()
            if not cursor.has_more(response):
                return
            for message in EventSource(response).iter_sse():
                if event := cursor.take(message):
                    yield event

    def _manifest_bytes(self, job_id: str) -> bytes:
        patience = self._patience()
        while True:
            try:
                with self._stream(calls.bundle_file(job_id, MANIFEST_NAME)) as response:
                    return response.read()
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            time.sleep(pause_seconds)

    def _download(self, job_id: str, fetch: Fetch, entry: FileEntry) -> None:
        patience = self._patience()
        with fetch.writer(entry) as writer:
            while True:
                try:
                    with self._stream(calls.bundle_file(job_id, entry.path, writer.rest)) as response:
                        writer.begin(response)
                        for data in response.iter_bytes():
                            if writer.write(data):
                                patience.answered()
                    return writer.finish()
                except StdoError as error:
                    fetch.pause(patience.pause_after(error))

    def _patience(self) -> Patience:
        return Patience(self._patience_seconds)
