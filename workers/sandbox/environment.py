"""What a part may see of its worker's environment: no credential, no setting of the service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
KEPT_PREFIX = "LC_"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def part_environment(
    environment: Mapping[str, str], *, temporary: Path, compiled: Path, threads: int | None
) -> dict[str, str]:
    """The environment of a part.

    Temporary files go to `temporary`, which vanishes with the part. What torch compiles goes to `compiled`, which
    stays: the networks of many jobs are of one kind, and to compile one takes half a minute. Arithmetic uses `threads`
    threads; where that is None, as many as `environment` allows OpenMP, or else all cores that this process may use.
    """
    kept = {
        name: value for name, value in environment.items() if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIX)
    }
    count = str(threads or environment.get(THREAD_VARIABLES[0]) or len(os.sched_getaffinity(0)))
    folders = {"TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(compiled)}
    return {**kept, **dict.fromkeys(THREAD_VARIABLES, count), **folders}
