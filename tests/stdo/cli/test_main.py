from __future__ import annotations

from tests.stdo.cli.running import RunStdo


def test_version_and_help(stdo: RunStdo) -> None:
    assert stdo("--version").out.startswith("stdo 0.")
    assert "refused the request" in stdo("--help").out
