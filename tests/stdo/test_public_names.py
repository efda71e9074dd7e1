"""What `import stdo` offers, and what it leaves alone until it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stdo

HEAVY = ("av", "onnxruntime", "httpx", "PIL", "numpy")


@pytest.mark.parametrize("name", stdo.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(stdo, name)
    assert value.__name__ == name
    assert value.__doc__


def test_names_are_listed_once_and_in_order() -> None:
    assert sorted(stdo.__all__, key=lambda name: (name.lower() == name, name)) == stdo.__all__
    assert set(stdo.__all__) <= set(dir(stdo))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'decode'"):
        stdo.decode  # noqa: B018


def test_functions_stay_functions_when_modules_are_loaded() -> None:
    """A module named as a public function would take its place in the package."""
    code = (
        "import pkgutil, importlib, stdo\n"
        "for module in pkgutil.iter_modules(stdo.__path__):\n"
        "    if module.name != '__main__': importlib.import_module('stdo.' + module.name)\n"
        "assert all(callable(getattr(stdo, name)) for name in stdo.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("module", ["stdo", "stdo.bundle.manifest", "stdo.service.resources"])
def test_types_alone_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert loaded.stdout.split() == []
