"""The object store in an S3 bucket, of AWS or of anything that speaks its protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ObjectNotFoundError, ObjectStoreUnavailableError
from core.settings import Settings
from core.storage.stored_objects import ObjectInfo, checked_key, checked_prefix, content_type_of

MULTIPART_PART_BYTES = 16 * 2**20
"""At most 10,000 parts make an object, so this allows 160 GB; four threads hold 64 MiB."""
CACHE_CONTROL = "private, max-age=31536000, immutable"
"""Objects that clients read are bundles, and a published bundle never changes."""
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


class S3ObjectStore:
    """Objects in one bucket, which exists."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._transfer = TransferConfig(
            multipart_threshold=MULTIPART_PART_BYTES, multipart_chunksize=MULTIPART_PART_BYTES, max_concurrency=4
        )

    @cached_property
    def _client(self) -> Any:
        # Made when first used: that takes a while, and many a process never needs it.
        return _make_client(self._settings, self._settings.s3_endpoint_url)

    @cached_property
    def _public_client(self) -> Any:
        # A signature covers the host, so URLs for clients are signed for the host that clients see.
        endpoint = self._settings.s3_public_endpoint_url
        return _make_client(self._settings, endpoint) if endpoint else self._client

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore."""
        extra = {"ContentType": content_type_of(key)}
        with _named_errors(key):
            self._client.upload_file(str(path), self._bucket, checked_key(key), ExtraArgs=extra, Config=self._transfer)

    def get_file(self, key: str, path: Path) -> None:
        """See ObjectStore."""
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="partial-") as folder, _named_errors(key):
            partial = Path(folder) / "object"
            self._client.download_file(self._bucket, checked_key(key), str(partial), Config=self._transfer)
            partial.replace(path)

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        try:
            with _named_errors(key):
                answer = self._client.head_object(Bucket=self._bucket, Key=checked_key(key))
        except ObjectNotFoundError:
            return None
        return ObjectInfo(
            byte_count=answer["ContentLength"], etag=answer["ETag"].strip('"'), content_type=answer["ContentType"]
        )

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        with _named_errors(key):
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=checked_key(key))["Body"].read()
            return content

    def local_path(self, key: str) -> Path | None:
        """See ObjectStore. A bucket has none."""
        checked_key(key)
        return None

    def list_prefix(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        return sorted(key for page in self._pages(prefix) for key in page)

    def delete_prefix(self, prefix: str) -> None:
        """See ObjectStore."""
        for keys in self._pages(prefix):
            if not keys:
                continue
            with _named_errors(prefix):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise ObjectStoreUnavailableError(
                    f"{len(errors)} objects below {prefix} could not be deleted: {errors[0].get('Message')}"
                )

    def presigned_url(self, key: str, *, expires_seconds: int) -> str | None:
        """See ObjectStore."""
        parameters = {"Bucket": self._bucket, "Key": checked_key(key), "ResponseCacheControl": CACHE_CONTROL}
        url: str = self._public_client.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=expires_seconds
        )
        return url

    def check(self) -> None:
        """See ObjectStore."""
        try:
            with _named_errors(""):
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectNotFoundError:
            raise ObjectStoreUnavailableError(
                f"The bucket {self._bucket!r} does not exist. Create it, or correct STDO_S3_BUCKET."
            ) from None

    def _pages(self, prefix: str) -> Iterator[list[str]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=checked_prefix(prefix)
        )
        with _named_errors(prefix):
            for page in pages:
                yield [item["Key"] for item in page.get("Contents", ())]


def _make_client(settings: Settings, endpoint_url: str | None) -> Any:
    assert settings.s3_access_key_id is not None
    assert settings.s3_secret_access_key is not None
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
            # boto3 would send trailing checksums with every upload, which not every S3 clone understands.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
        ),
    )


@contextmanager
def _named_errors(key: str) -> Iterator[None]:
    """Turn the libraries' errors into ours."""
    try:
        yield
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) in _MISSING:
            raise ObjectNotFoundError(key) from None
        raise ObjectStoreUnavailableError(f"The object store refused {error.operation_name}: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise ObjectStoreUnavailableError(f"The object store could not be used: {error}") from error
