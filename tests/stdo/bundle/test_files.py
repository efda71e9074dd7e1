from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

from stdo.bundle.files import file_sha256


def test_a_large_file_is_hashed_in_little_memory(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2**16
    path = tmp_path / "large"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        found = file_sha256(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == hashlib.sha256(content).hexdigest()
    assert peak < len(content) / 8
