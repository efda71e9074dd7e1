"""Rows and the objects that belong to them: made and deleted in an order that leaves no row without its objects.

One exception: where objects were deleted and the commit then fails, the row stays, and deleting it again ends it. What
a process that is killed between the two leaves in the store is not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.services import Services
from app.uploads.receive import Upload
from core.callers import Caller
from core.clock import utc_now
from core.jobs import videos
from core.storage.keys import source_key, video_prefix
from core.tables import VideoRow, new_id


@contextmanager
def new_video(services: Services, caller: Caller, upload: Upload) -> Iterator[tuple[Session, VideoRow]]:
    """The video of an upload, in a transaction that ends with the block. Its probe is queued with it.

    Where the block or the commit fails, the stored bytes are deleted again.
    """
    video_id = new_id()
    try:
        services.store.put_file(source_key(video_id), upload.path)
        with services.database.transaction() as session:
            row = videos.create(
                session,
                caller,
                video_id=video_id,
                file_name=upload.file_name,
                byte_count=upload.byte_count,
                sha256=upload.sha256,
                now=utc_now(),
            )
            yield session, row
    except BaseException:
        services.store.delete_prefix(video_prefix(video_id))
        raise


def delete_objects(services: Services, prefixes: Sequence[str]) -> None:
    """Delete the objects of rows that the running transaction deletes.

    Before the commit, on purpose: where the store does not answer the rows stay, and the caller can ask again. The
    other way round, objects would be left that no row names.
    """
    for prefix in prefixes:
        services.store.delete_prefix(prefix)
