"""Every setting of the service, read once from the environment (`STDO_...`) at the edge of a process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

ENVIRONMENT_PREFIX = "STDO_"
REQUIRED_WHEN_DEPLOYED = ("database_url", "redis_url", "s3_bucket", "s3_access_key_id", "s3_secret_access_key")

Mode = Literal["embedded", "deployed"]
Seconds = Annotated[float, Field(gt=0)]


def variable_name(field: str) -> str:
    """The environment variable that sets a field of Settings."""
    return ENVIRONMENT_PREFIX + field.upper()


class Settings(BaseSettings):
    """Settings of the API, the workers and the beat alike. Each field is set by `STDO_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    mode: Mode = "embedded"
    """embedded: SQLite, a folder and a private broker. deployed: PostgreSQL, Redis and S3, all given by settings."""
    data_dir: Path = Path("var")
    """Folder for the embedded database, store and broker, and for scratch files in either mode."""

    database_url: SecretStr | None = None
    """SQLAlchemy URL, such as postgresql+psycopg://user:password@host/name. Embedded: a SQLite file in data_dir."""
    redis_url: SecretStr | None = None
    """Broker, such as redis://:password@host:6379/0. Embedded: `python -m app serve` starts one and sets this."""

    s3_bucket: str | None = None
    """Bucket of the object store. It has to exist."""
    s3_endpoint_url: str | None = None
    """Where the service reaches the store; leave out for AWS."""
    s3_public_endpoint_url: str | None = None
    """Where clients reach the store, in presigned URLs; the same as s3_endpoint_url where left out."""
    s3_region: str = "us-east-1"
    """Region of the bucket; any word where the store has none."""
    s3_access_key_id: SecretStr | None = None
    """Credentials that may read, write, list and delete in the bucket."""
    s3_secret_access_key: SecretStr | None = None
    """Credentials that may read, write, list and delete in the bucket."""
    s3_path_style: bool = True
    """True: https://host/bucket/key, which every S3 clone understands. False: https://bucket.host/key."""
    presigned_url_seconds: Annotated[int, Field(ge=10, le=604_800)] = 900
    """How long an address in the store is good that a client is sent to."""

    lease_seconds: Seconds = 60.0
    """A part whose worker has been silent for so long is given to another."""
    heartbeat_seconds: Seconds = 10.0
    """Longest silence of a healthy worker."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Workers that may die of a part before it counts as failed."""
    resend_after_seconds: Seconds = 30.0
    """A queued part whose message was sent so long ago is checked for a lost message."""
    reap_interval_seconds: Seconds = 10.0
    """How often expired leases and lost messages are looked for."""

    max_upload_bytes: Annotated[int, Field(gt=0)] = 20 * 2**30
    """Longest file that is accepted."""
    max_duration_seconds: Seconds = 4 * 3600.0
    """Longest video that is encoded; longer ones are refused."""
    max_frames: Annotated[int, Field(gt=0)] = 1_000_000
    """Most frames of a video that is encoded."""
    max_pixels_per_frame: Annotated[int, Field(gt=0)] = 4096 * 2304
    """Largest picture that is encoded, width times height."""
    max_streams: Annotated[int, Field(gt=0)] = 64
    """Most streams in a file that is encoded."""

    no_progress_seconds: Seconds = 1800.0
    """A part of an encode that says nothing new for so long is stopped, and tried again."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads a part uses for arithmetic; all cores that its worker may use where left out."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda or cuda:<n>."""
    finish_queue: Literal["cpu", "gpu"] = "cpu"
    """Workers of which queue finish a bundle. gpu measures it faster, and keeps a GPU from training meanwhile. Set it
    on every worker: the one that ends a plan reads it."""
    ffmpeg_path: Path | None = None
    """The ffmpeg program; the one that imageio-ffmpeg carries where left out."""

    @model_validator(mode="after")
    def _heartbeats_fit_the_lease(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"{variable_name('heartbeat_seconds')} must be at most half of {variable_name('lease_seconds')}, "
                "so that one late heartbeat does not lose a lease"
            )
        return self

    @model_validator(mode="after")
    def _complete_when_deployed(self) -> Self:
        if self.mode == "embedded":
            return self
        missing = [variable_name(field) for field in REQUIRED_WHEN_DEPLOYED if getattr(self, field) is None]
        if missing:
            raise ValueError(f"{variable_name('mode')}=deployed also needs {', '.join(missing)}")
        return self

    @property
    def effective_database_url(self) -> str:
        """The database's URL with its password: for the engine alone, never for a log."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'stdo.sqlite3'}"

    @property
    def broker_url(self) -> str:
        """The broker's URL with its password. Raises SettingsError where none is set."""
        if self.redis_url is None:
            raise SettingsError(
                f"There is no message broker. Set {variable_name('redis_url')}, or start the service with "
                "`python -m app serve`, which starts a private one."
            )
        return self.redis_url.get_secret_value()

    @property
    def objects_dir(self) -> Path:
        """Folder of the embedded object store."""
        return self.data_dir.absolute() / "objects"

    @property
    def scratch_dir(self) -> Path:
        """Folder for files that may vanish between two parts: uploads in flight, work of a part."""
        return self.data_dir.absolute() / "scratch"

    @property
    def compiled_dir(self) -> Path:
        """Folder for what torch has compiled. It may be deleted at any time, and is made anew then."""
        return self.data_dir.absolute() / "compiled"

    @property
    def lease(self) -> timedelta:
        """How long a claim or a heartbeat holds a part."""
        return timedelta(seconds=self.lease_seconds)


def load_settings() -> Settings:
    """Settings from the environment. Raises SettingsError, which names every variable that is missing or wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{variable_name(str(item['loc'][0]))}: {message}" if item["loc"] else message)
    return "The settings are not complete: " + "; ".join(lines) + "."
