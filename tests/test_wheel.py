"""The wheel's contents as pyproject.toml lists them: all of `stdo`, nothing else, and small enough for a client app."""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
LIBRARY = CHECKOUT / "stdo"
MOST_BYTES = 3_000_000
SETUPTOOLS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def library_files() -> set[Path]:
    """All files of the library, but for what Python leaves there."""
    return {path for path in LIBRARY.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_every_folder_with_code_is_a_listed_package_and_nothing_else_is() -> None:
    folders = {path.parent.relative_to(CHECKOUT) for path in library_files() if path.suffix == ".py"}
    assert sorted(SETUPTOOLS["packages"]) == sorted(".".join(folder.parts) for folder in folders)


def test_every_other_file_is_listed_data() -> None:
    assert list(SETUPTOOLS["package-data"]) == ["stdo"]
    listed = {path for pattern in SETUPTOOLS["package-data"]["stdo"] for path in LIBRARY.glob(pattern)}
    assert listed == {path for path in library_files() if path.suffix != ".py"}
    # For type checkers, and for bundles that name a general network by its hash.
    assert LIBRARY / "py.typed" in listed
    assert any(path.suffix == ".onnx" for path in listed)


def test_it_is_small() -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in library_files():
            archive.write(path, path.relative_to(CHECKOUT))
    assert len(wheel.getvalue()) < MOST_BYTES
