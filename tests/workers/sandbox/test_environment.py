from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.sandbox.environment import THREAD_VARIABLES, part_environment

WORKER = {
    "PATH": "/bin",
    "HOME": "/home/worker",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "CUDA_VISIBLE_DEVICES": "1",
    "STDO_DATABASE_URL": "postgresql://stdo:secret@database/stdo",
    "STDO_S3_SECRET_ACCESS_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "PGPASSWORD": "secret",
    "PYTHONPATH": "/elsewhere",
    "LD_PRELOAD": "/elsewhere.so",
    "TMPDIR": "/shared",
}


def test_nothing_but_what_a_part_needs(tmp_path: Path) -> None:
    environment = part_environment(WORKER, temporary=tmp_path, compiled=tmp_path / "compiled", threads=2)

    assert environment == {
        "PATH": "/bin",
        "HOME": "/home/worker",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "1",
        "TMPDIR": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
    }


@pytest.mark.parametrize(
    ("threads", "inherited", "expected"),
    [
        (5, {"OMP_NUM_THREADS": "3"}, 5),
        (None, {"OMP_NUM_THREADS": "3"}, 3),
        (None, {"OMP_NUM_THREADS": ""}, len(os.sched_getaffinity(0))),
        (None, {}, len(os.sched_getaffinity(0))),
    ],
)
def test_threads_by_setting_then_by_environment_then_all_cores(
    tmp_path: Path, threads: int | None, inherited: dict[str, str], expected: int
) -> None:
    environment = part_environment(inherited, temporary=tmp_path, compiled=tmp_path / "compiled", threads=threads)

    assert [environment[name] for name in THREAD_VARIABLES] == [str(expected)] * 3
