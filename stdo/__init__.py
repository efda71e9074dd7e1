"""Super-resolution video bundles: open one, restore its frames, and talk to the service that makes them.

    bundle = stdo.open_bundle("path/or/url")
    for frame in stdo.reconstruct(bundle):
        frame.time, frame.rgb

Every name below is loaded when it is first used, so that a program that needs the manifest's types alone, such as the
API, loads neither FFmpeg nor ONNX Runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stdo.api_errors import ApiError
    from stdo.async_client import AsyncClient
    from stdo.bundle import Bundle, FileCheck, open_bundle
    from stdo.client import Client
    from stdo.errors import StdoError
    from stdo.frames import YuvFrame
    from stdo.manifest import Manifest
    from stdo.manifest_reader import parse_manifest
    from stdo.reconstruction import FrameRestorer, reconstruct
    from stdo.restored_frame import RestoredFrame
    from stdo.upscale import OnnxUpscaler, Upscaler
    from stdo.video_writer import write_mp4, write_png_frames, write_raw_yuv

_MODULE_OF_NAME = {
    "ApiError": "api_errors",
    "AsyncClient": "async_client",
    "Bundle": "bundle",
    "Client": "client",
    "FileCheck": "bundle",
    "FrameRestorer": "reconstruction",
    "Manifest": "manifest",
    "OnnxUpscaler": "upscale",
    "RestoredFrame": "restored_frame",
    "StdoError": "errors",
    "Upscaler": "upscale",
    "YuvFrame": "frames",
    "open_bundle": "bundle",
    "parse_manifest": "manifest_reader",
    "reconstruct": "reconstruction",
    "write_mp4": "video_writer",
    "write_png_frames": "video_writer",
    "write_raw_yuv": "video_writer",
}

__all__ = [
    "ApiError",
    "AsyncClient",
    "Bundle",
    "Client",
    "FileCheck",
    "FrameRestorer",
    "Manifest",
    "OnnxUpscaler",
    "RestoredFrame",
    "StdoError",
    "Upscaler",
    "YuvFrame",
    "open_bundle",
    "parse_manifest",
    "reconstruct",
    "write_mp4",
    "write_png_frames",
    "write_raw_yuv",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
