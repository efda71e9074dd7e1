"""Write a manifest as compact JSON, whole or without what viewers don't need."""

from __future__ import annotations

from stdo.bundle.manifest import Manifest

_FOR_PEOPLE = {"source": None, "quality": None, "provenance": None}


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as UTF-8 JSON without white space, fields that have their default left out."""
    return manifest.model_dump_json(exclude_defaults=True).encode()


def strip_manifest(manifest: Manifest) -> bytes:
    """The manifest as `manifest_bytes`, without source, quality and provenance: for a copy that goes to viewers.

    The files of `quality/` are then no part of the bundle any more.
    """
    return manifest_bytes(manifest.model_copy(update=_FOR_PEOPLE))
