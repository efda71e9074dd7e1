from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from stdo.bundle.bundle import open_bundle
from stdo.cli.main import app
from stdo.decoder.reconstruction import reconstruct
from stdo.service.resources import Job, Page, StageProgress
from tests.stdo.bundles import write_small_bundle
from tests.stdo.service.scripted_service import ScriptedService, as_json, make_event, make_job, problem


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


RunStdo = Callable[..., Outcome]


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


def test_encode_uploads_follows_and_tells(stdo: RunStdo, service: ScriptedService, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"scale": 2, "training": {"steps": 9, "batch_size": 4}}')
    service.event_answers = [
        [
            make_event(1, "queued"),
            make_event(2, "training", 0.25).model_copy(
                update={"stage": "train", "stage_progress": StageProgress(done=30, total=120, unit="steps")}
            ),
            make_event(3, "succeeded", 1.0),
        ]
    ]
    service.job_answers = [make_job("succeeded", progress=1.0)]
    result = stdo(
        "encode", service.url, clip, "--preset", "fast", "--settings", tmp_path / "settings.json", "--method", "jstdo",
        "--scale", 4, "--set", "training.steps=200", "--set", "base_stream.codec=hevc", "--set", "groups.count=2",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert as_json(service.parts[0].data) == {
        "scale": 4,
        "method": "jstdo",
        "training": {"steps": 200, "batch_size": 4},
        "base_stream": {"codec": "hevc"},
        "groups": {"count": 2},
    }
    assert service.parts[1].data == b"fast"
    assert "Train the networks" in result.err
    assert "30/120 steps" in result.err
    assert "job 25%" in result.err
    assert "succeeded" in result.out


def test_encode_need_not_wait(stdo: RunStdo, service: ScriptedService, clip: Path) -> None:
    result = stdo("encode", service.url, clip, "--no-wait", "--json")
    assert result.code == 0
    assert json.loads(result.out)["state"] == "queued"
    assert result.err == ""
    assert [one.method for one in service.received] == ["POST"]


def test_encode_of_a_job_that_fails(stdo: RunStdo, service: ScriptedService, clip: Path) -> None:
    service.event_answers = [[make_event(1, "failed")]]
    service.job_answers = [make_job("failed")]
    result = stdo("encode", service.url, clip)
    assert result.code == 1
    assert "It broke: Mend it." in result.out


def test_a_wrong_setting_is_named(stdo: RunStdo, service: ScriptedService, clip: Path) -> None:
    cases = {
        ("--set", "steps"): "write key=value",
        ("--set", "=3"): "write key=value",
        ("--set", "a..b=3"): "write key=value",
        ("--set", "scale=2", "--set", "scale.x=3"): "scale has a value of its own",
        ("--settings", str(clip.parent / "absent.json")): "No such file",
        ("--settings", str(clip)): "is not JSON",
    }
    for options, message in cases.items():
        result = stdo("encode", service.url, clip, *options)
        assert result.code == 2, options
        assert message in result.err.replace("\n", " ")
    assert not service.received


def test_jobs_are_listed(stdo: RunStdo, service: ScriptedService) -> None:
    jobs = tuple(make_job("failed", id=f"job-{number}") for number in range(3))
    service.pages = [Page[Job](items=jobs, next_cursor=None)]
    result = stdo("jobs", service.url, "--state", "failed", "--limit", 2)
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == ["job-0", "job-1"]
    as_documents = json.loads(stdo("jobs", service.url, "--json").out)
    assert [job["id"] for job in as_documents] == ["job-0", "job-1", "job-2"]


def test_the_url_comes_from_the_environment(
    stdo: RunStdo, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.job_answers = [make_job("training", progress=0.4)]
    result = stdo("status", "j1")
    assert result.code == 2
    assert "set STDO_URL" in result.err
    monkeypatch.setenv("STDO_URL", service.url)
    monkeypatch.setenv("STDO_API_KEY", "secret")
    assert "40%" in stdo("status", "j1").out
    assert json.loads(stdo("status", "j1", "--json").out)["progress"] == 0.4
    assert stdo("cancel", "j1").code == 0
    assert "fast" in stdo("presets").out
    assert json.loads(stdo("presets", "--json").out)[0]["settings"] == {"scale": 2}
    assert {one.headers["authorization"] for one in service.received} == {"Bearer secret"}


def test_a_refusal_and_an_absent_service_have_their_own_codes(stdo: RunStdo, service: ScriptedService) -> None:
    service.job_answers = [problem(404, "job-not-found", "No such job", "There is no job j1.")]
    refused = stdo("status", service.url, "j1")
    assert (refused.code, refused.err) == (4, "error: No such job: There is no job j1.\n")
    told = stdo("status", service.url, "j1", "--json")
    assert (told.code, told.out) == (4, "")
    assert json.loads(told.err)["error"]["type"] == "/problems/job-not-found"
    service.job_answers = [problem(500, "internal-error", "The service has a defect", "[see] its log")]
    broken = stdo("status", service.url, "j1")
    assert (broken.code, broken.err) == (3, "error: The service has a defect: [see] its log\n")
    assert stdo("jobs", "http://127.0.0.1:1").code == 3
    assert stdo("jobs", "127.0.0.1").code == 2
    assert stdo("encode", service.url, "absent.mp4").code == 2
    assert stdo("no-such-command").code == 2


def test_fetch_then_verify(stdo: RunStdo, service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    target = tmp_path / "fetched"
    result = stdo("fetch", service.url, "j1", "-o", target, "--json")
    assert json.loads(result.out) == {"job": "j1", "folder": str(target)}
    verified = stdo("verify", target)
    assert verified.code == 0
    assert "All 7 files" in verified.out
    network = target / "networks" / "0.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    (target / "patch_index" / "00001.bin").unlink()
    damaged = stdo("verify", target, "--json")
    assert damaged.code == 1
    checks = json.loads(damaged.out)
    assert not checks["ok"]
    assert [check["path"] for check in checks["files"] if check["problem"]] == [
        "networks/0.onnx",
        "patch_index/00001.bin",
    ]
    assert "damaged networks/0.onnx" in stdo("verify", target).out
    restored = stdo("reconstruct", target, "-o", tmp_path / "out.mp4")
    assert restored.code == 1
    assert "networks/0.onnx differs" in restored.err
    assert not (tmp_path / "out.mp4").exists()


def test_info_of_a_folder_and_of_a_url(stdo: RunStdo, service: ScriptedService, bundle_folder: Path) -> None:
    service.bundle_folder = bundle_folder
    url = f"{service.url}/v1/jobs/j1/bundle/manifest.json"
    told = stdo("info", bundle_folder)
    assert told.code == 0
    for words in ("45x29, 5 frames", "sound: aac", "networks (2)", "restored"):
        assert words in told.out
    assert stdo("info", url).out == told.out
    document = json.loads(stdo("info", url, "--json").out)
    parts = document["bytes"]
    assert parts["total"] == parts["base_stream"] + parts["networks"] + parts["patch_index"] + parts["manifest"]
    assert parts["manifest"] == (bundle_folder / "manifest.json").stat().st_size
    assert document["manifest"]["bundle_id"] == "test-bundle"


def test_info_shows_what_a_manifest_says_as_it_is(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    manifest["source"]["container"] = "[/bold] mp4"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    told = stdo("info", tmp_path)
    assert told.code == 0
    assert "in [/bold] mp4" in told.out


def test_the_key_is_not_sent_to_other_places(
    stdo: RunStdo, service: ScriptedService, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.bundle_folder = bundle_folder
    url = f"{service.url}/v1/jobs/j1/bundle/manifest.json"
    monkeypatch.setenv("STDO_API_KEY", "secret")
    for url_of_key in (None, "http://127.0.0.1", f"{service.url}0", service.url):
        if url_of_key:
            monkeypatch.setenv("STDO_URL", url_of_key)
        assert stdo("info", url).code == 0
    assert stdo("info", url, "--api-key", "another").code == 0
    keys = [one.headers.get("authorization") for one in service.received]
    assert keys == [None, None, None, "Bearer secret", "Bearer another"]


def test_bundles_that_are_none(stdo: RunStdo, service: ScriptedService, tmp_path: Path) -> None:
    service.bundle_folder = tmp_path
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text('{"format": "stdo-bundle", "format_version": "2.0"}')
    for place, code, message in (
        (tmp_path / "absent", 2, "There is no bundle in"),
        (f"{service.url}/v1/jobs/j1/bundle", 2, "There is no bundle at"),
        ("http://127.0.0.1:1/bundle", 3, "can't be fetched"),
        (tmp_path / "broken", 1, "Update the stdo package"),
    ):
        result = stdo("info", place)
        assert (result.code, message in result.err.replace("\n", " ")) == (code, True), result.err
        assert "Traceback" not in result.err


def test_reconstruct_writes_a_video(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    result = stdo("reconstruct", bundle_folder, "-o", tmp_path / "out.mp4", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["frames"] == 5
    assert result.err == ""
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (46, 30)
        assert len(video.streams.audio) == 1
        assert sum(1 for _ in video.decode(video=0)) == 5


def test_reconstruct_writes_frames(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    result = stdo("reconstruct", bundle_folder, "-o", f"{tmp_path}/frames/", "--frames", "1:3")
    assert result.code == 0, result.err
    assert "2/2 frames" in result.err
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == ["000001.png", "000002.png"]
    with open_bundle(bundle_folder) as bundle:
        for number, frame in enumerate(reconstruct(bundle, frames=range(1, 3)), start=1):
            written = np.asarray(Image.open(tmp_path / "frames" / f"{number:06d}.png"))
            np.testing.assert_array_equal(written, frame.rgb)


def test_reconstruct_writes_raw_frames_to_a_pipe(bundle_folder: Path) -> None:
    result = _run("reconstruct", str(bundle_folder), "-o", "-", "--frames", "2:")
    assert result.returncode == 0, result.stderr
    with open_bundle(bundle_folder) as bundle:
        planes = [
            plane.tobytes()
            for frame in reconstruct(bundle, frames=range(2, 5))
            for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v)
        ]
    assert result.stdout == b"".join(planes)


def test_a_reader_that_goes_away_is_no_error(bundle_folder: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = _run("reconstruct", str(bundle_folder), "-o", "-", stdout=write_end)
    os.close(write_end)
    assert result.returncode == 141
    assert b"Traceback" not in result.stderr
    assert b"error" not in result.stderr


def test_outputs_and_frames_that_can_not_be(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    for options, message in (
        (("-o", tmp_path / "out.webm"), "ends in .mp4"),
        (("-o", "-", "--json"), "standard output for themselves"),
        (("-o", tmp_path / "out.mp4", "--frames", "3"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "a:b"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "-1:3"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "4:4"), "are not in this video"),
        (("-o", tmp_path / "out.mp4", "--frames", "0:6"), "it has frames 0:5"),
        ((), "Missing option"),
    ):
        result = stdo("reconstruct", bundle_folder, *options)
        assert result.code == 2, (options, result.err)
        assert message in result.err.replace("\n", " ")
    assert not list(tmp_path.iterdir())
    absent = stdo("reconstruct", bundle_folder, "-o", tmp_path / "absent" / "out.mp4")
    assert absent.code == 1
    assert "can't be written" in absent.err


def test_version_and_help(stdo: RunStdo) -> None:
    assert stdo("--version").out.startswith("stdo 0.")
    assert "refused the request" in stdo("--help").out


def _run(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from stdo.cli.main import main; main()", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60)
