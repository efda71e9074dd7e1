from __future__ import annotations

from pathlib import Path

import pytest

from stdo.cli.main import app
from tests.stdo.bundles import write_small_bundle
from tests.stdo.cli.running import Outcome, RunStdo


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STDO_URL", "STDO_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stdo(capfd: pytest.CaptureFixture[str]) -> RunStdo:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments], prog_name="stdo")
        captured = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(code=ended.value.code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not looked at")
    return path


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"), sound_seconds=0.2)
