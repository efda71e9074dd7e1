"""The service's HTTP client for asyncio: the methods of `stdo.service.client.Client`, which says what each does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
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

Answer = TypeVar("Answer")


class AsyncClient:
    """As `Client`, with the same arguments, results and errors."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 60.0,
    ) -> None:
        self._http = httpx.AsyncClient(**http_options(base_url, api_key, timeout_seconds))
        self._patience_seconds = patience_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As Client.close."""
        await self._http.aclose()

    async def upload(self, path: Path, *, on_progress: TransferProgress | None = None) -> Video:
        """As Client.upload."""
        with open_upload(path, on_progress) as file:
            return await self._send(calls.upload_video(path.name, file))

    async def create_job(
        self, video_id: str, *, preset: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> Job:
        """As Client.create_job."""
        return await self._send(calls.create_job(video_id, preset, settings or {}))

    async def encode(
        self,
        path: Path,
        *,
        preset: str | None = None,
        settings: Mapping[str, Any] | None = None,
        on_progress: TransferProgress | None = None,
    ) -> Job:
        """As Client.encode."""
        with open_upload(path, on_progress) as file:
            return await self._send(calls.encode(path.name, file, preset, settings or {}))

    async def job(self, job_id: str) -> Job:
        """As Client.job."""
        return await self._send(calls.get_job(job_id))

    async def jobs(self, *, state: JobState | None = None, video_id: str | None = None) -> AsyncIterator[Job]:
        """As Client.jobs."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.list_jobs(state, video_id, cursor))
            for job in page.items:
                yield job
            if (cursor := page.next_cursor) is None:
                return

    async def video(self, video_id: str) -> Video:
        """As Client.video."""
        return await self._send(calls.get_video(video_id))

    async def videos(self, *, state: VideoState | None = None) -> AsyncIterator[Video]:
        """As Client.videos."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.list_videos(state, cursor))
            for video in page.items:
                yield video
            if (cursor := page.next_cursor) is None:
                return

    async def presets(self) -> tuple[Preset, ...]:
        """As Client.presets."""
        return (await self._send(calls.list_presets())).items

    async def cancel(self, job_id: str) -> Job:
        """As Client.cancel."""
        return await self._send(calls.cancel_job(job_id))

    async def delete(self, job_id: str) -> None:
        """As Client.delete."""
        await self._send(calls.delete_job(job_id))

    async def delete_video(self, video_id: str) -> None:
        """As Client.delete_video."""
        await self._send(calls.delete_video(video_id))

    async def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> Job:
        """As Client.wait."""
        async for job in self._polled(job_id, timeout_seconds):
            last = job
        return last

    async def events(self, job_id: str, *, last_event_id: int = 0) -> AsyncIterator[JobEvent]:
        """As Client.events."""
        cursor, patience = EventCursor(job_id, last_event_id), self._patience()
        while not cursor.finished:
            try:
                async with aclosing(self._stream_events(cursor, patience)) as events:
                    async for event in events:
                        yield event
                if cursor.in_doubt and (await self.job(job_id)).state in TERMINAL_JOB_STATES:
                    return
                pause_seconds = cursor.pause_seconds
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            await asyncio.sleep(0.0 if cursor.finished else pause_seconds)

    async def iterate_progress(self, job_id: str) -> AsyncIterator[JobEvent | Job]:
        """As Client.iterate_progress."""
        try:
            async for event in self.events(job_id):
                yield event
        except EventStreamUnavailableError:
            async for job in self._polled(job_id, timeout_seconds=None):
                yield job

    async def fetch(
        self, job_id: str, folder: Path, *, reports: bool = False, on_progress: TransferProgress | None = None
    ) -> Path:
        """As Client.fetch."""
        check_bundle(await self.job(job_id))
        fetch = Fetch(await self._manifest_bytes(job_id), folder, on_progress, reports=reports)
        places = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        try:
            missing = await asyncio.to_thread(fetch.missing_files)
            async with asyncio.TaskGroup() as tasks:
                for entry in missing:
                    tasks.create_task(self._download(job_id, fetch, entry, places))
        except BaseExceptionGroup as failures:
            fetch.stop()
            raise failures.exceptions[0] from None
        except BaseException:
            fetch.stop()
            raise
        return fetch.finish()

    async def _send(self, call: calls.Call[Answer]) -> Answer:
        attempts = CallAttempts(call, self._patience())
        while True:
            try:
                with named_errors(self._http.base_url):
                    response = await self._http.send(call.request(self._http))
                return call.read(response)
            except StdoError as error:
                pause_seconds = attempts.pause_after(error)
            await asyncio.sleep(pause_seconds)

    @asynccontextmanager
    async def _stream(self, call: calls.Call[Answer]) -> AsyncIterator[Answer]:
        with named_errors(self._http.base_url):
            response = await self._http.send(call.request(self._http), stream=True, follow_redirects=True)
            try:
                if response.is_error:
                    await response.aread()
                yield call.read(response)
            finally:
                await response.aclose()

    async def _polled(self, job_id: str, timeout_seconds: float | None) -> AsyncIterator[Job]:
        poll, patience = JobPoll(job_id, timeout_seconds), self._patience()
        while not poll.finished:
            try:
                if job := poll.take(await self._send(poll.next_call())):
                    yield job
                patience.answered()
                pause_seconds = poll.pause_seconds
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            await asyncio.sleep(0.0 if poll.finished else pause_seconds)

    async def _stream_events(self, cursor: EventCursor, patience: Patience) -> AsyncGenerator[JobEvent]:
        async with self._stream(cursor.next_call()) as response:
            patience.answered()
            if not cursor.has_more(response):
                return
            async for message in EventSource(response).aiter_sse():
                if event := cursor.take(message):
                    yield event

    async def _manifest_bytes(self, job_id: str) -> bytes:
        patience = self._patience()
        while True:
            try:
                async with self._stream(calls.bundle_file(job_id, MANIFEST_NAME)) as response:
                    return await response.aread()
            except StdoError as error:
                pause_seconds = patience.pause_after(error)
            await asyncio.sleep(pause_seconds)

    async def _download(self, job_id: str, fetch: Fetch, entry: FileEntry, places: asyncio.Semaphore) -> None:
        patience = self._patience()
        async with places:
            with fetch.writer(entry) as writer:
                while True:
                    try:
                        async with self._stream(calls.bundle_file(job_id, entry.path, writer.rest)) as response:
                            writer.begin(response)
                            async for data in response.aiter_bytes():
                                if writer.write(data):
                                    patience.answered()
                        return writer.finish()
                    except StdoError as error:
                        pause_seconds = patience.pause_after(error)
                    await asyncio.sleep(pause_seconds)

    def _patience(self) -> Patience:
        return Patience(self._patience_seconds)
