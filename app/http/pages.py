"""What every listing can be asked for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from core.jobs import paging

MAX_CURSOR_LENGTH = 200


class PageQuery(BaseModel):
    """Which page of a listing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=paging.DEFAULT_LIMIT, ge=1, le=paging.MAX_LIMIT, description="Rows a page.")
    cursor: str | None = Field(
        default=None, max_length=MAX_CURSOR_LENGTH, description="`next_cursor` of the page before."
    )
