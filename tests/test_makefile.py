"""The Makefile's own rules, in a folder with a difficult name and with a stand-in for Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a foldér with spaces"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(CHECKOUT / name, folder / name)
    return folder


def script(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=checkout, capture_output=True, text=True, check=False)


def test_pip_finds_the_constraints(checkout: Path) -> None:
    # pip splits the variable at its spaces.
    script(checkout / ".venv/bin/python", 'for path in $PIP_CONSTRAINT; do test -f "$path" || exit 1; done')
    result = make(checkout, ".venv/.service")
    assert result.returncode == 0, result.stderr


def test_half_a_virtual_environment_is_not_taken_for_a_whole_one(checkout: Path) -> None:
    script(checkout / "python", "mkdir -p .venv/bin && touch .venv/bin/python", "exit 1")
    for _ in range(2):
        result = make(checkout, ".venv/.service", "PYTHON=./python")
        assert "./python -m venv .venv" in result.stdout
        assert result.returncode != 0
