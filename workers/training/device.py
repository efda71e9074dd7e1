"""The device that networks run on, and the arithmetic it does natively."""

from __future__ import annotations

import torch


class DeviceUnavailableError(RuntimeError):
    """The worker's settings name a device that its machine doesn't have: no fault of the job."""


_REMEDY = "set STDO_DEVICE to auto"


def select_device(name: str) -> torch.device:
    """`auto` (the first GPU, or the CPU where there is none), `cpu`, `cuda` or `cuda:<number>`.

    Raises:
        DeviceUnavailableError: the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailableError(f"{name!r} is no device; {_REMEDY}, cpu, cuda or cuda:<number>.") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceUnavailableError(f"{name!r} is not supported; {_REMEDY}, cpu, cuda or cuda:<number>.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailableError(f"There is no {name} here; {_REMEDY} to take what the machine has.")
    return device


def compute_exactly() -> None:
    """Let float32 be float32: by default cuDNN rounds the inputs of convolutions to TF32's 10 bits, on GPUs with it."""
    torch.backends.cudnn.allow_tf32 = False


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is done in hardware; elsewhere it is emulated, slower than float32."""
    if device.type == "cuda":
        native: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return native
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
