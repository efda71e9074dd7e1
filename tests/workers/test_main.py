from __future__ import annotations

import os
import subprocess
import sys

import pytest


def workers(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STDO_")}
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "--queue"),
        (("run", "--queue", "tpu"), "invalid choice: 'tpu'"),
        (("run", "--queue", "cpu", "--concurrency", "0"), "must be at least 1"),
        (("sing",), "invalid choice: 'sing'"),
    ],
)
def test_a_wrong_command_is_explained(arguments: tuple[str, ...], message: str) -> None:
    ended = workers(*arguments)

    assert ended.returncode == 2
    assert message in ended.stderr


@pytest.mark.parametrize("arguments", [("run", "--queue", "cpu"), ("beat",)])
def test_missing_settings_are_named(arguments: tuple[str, ...]) -> None:
    ended = workers(*arguments, STDO_MODE="deployed", STDO_S3_BUCKET="bundles")

    assert ended.returncode == 1
    assert "STDO_DATABASE_URL" in ended.stderr
    assert "STDO_S3_BUCKET" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_broker_is_named() -> None:
    ended = workers("run", "--queue", "cpu")

    assert ended.returncode == 1
    assert "STDO_REDIS_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
