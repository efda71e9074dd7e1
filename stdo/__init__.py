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
    from stdo.bundle.bundle import Bundle, FileCheck, open_bundle
    from stdo.bundle.manifest import Manifest
    from stdo.bundle.manifest_reader import parse_manifest
    from stdo.decoder.frames import YuvFrame
    from stdo.decoder.reconstruction import FrameRestorer, reconstruct
    from stdo.decoder.restored_frame import RestoredFrame
    from stdo.decoder.video_writer import write_mp4, write_png_frames, write_raw_yuv
    from stdo.errors import StdoError
    from stdo.networks.codings import RunOptions
    from stdo.networks.upscale import OnnxUpscaler, Upscaler
    from stdo.service.api_errors import ApiError
    from stdo.service.async_client import AsyncClient
    from stdo.service.client import Client

_MODULE_OF_NAME = {
    "ApiError": "service.api_errors",
    "AsyncClient": "service.async_client",
    "Bundle": "bundle.bundle",
    "Client": "service.client",
    "FileCheck": "bundle.bundle",
    "FrameRestorer": "decoder.reconstruction",
    "Manifest": "bundle.manifest",
    "OnnxUpscaler": "networks.upscale",
    "RestoredFrame": "decoder.restored_frame",
    "RunOptions": "networks.codings",
    "StdoError": "errors",
    "Upscaler": "networks.upscale",
    "YuvFrame": "decoder.frames",
    "open_bundle": "bundle.bundle",
    "parse_manifest": "bundle.manifest_reader",
    "reconstruct": "decoder.reconstruction",
    "write_mp4": "decoder.video_writer",
    "write_png_frames": "decoder.video_writer",
    "write_raw_yuv": "decoder.video_writer",
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
    "RunOptions",
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
