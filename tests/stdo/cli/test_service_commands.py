from __future__ import annotations

import json
from pathlib import Path

import pytest

from stdo.service.resources import Job, Page, StageProgress
from tests.stdo.cli.running import RunStdo
from tests.stdo.service.scripted_service import ScriptedService, as_json, make_event, make_job, problem


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
