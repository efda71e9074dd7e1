from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stdo.bundle.bundle import open_bundle
from stdo.decoder.reconstruction import reconstruct
from tests.stdo.cli.running import RunStdo
from tests.stdo.service.scripted_service import ScriptedService, make_job


def test_fetch_then_verify(stdo: RunStdo, service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    target = tmp_path / "fetched"
    result = stdo("fetch", service.url, "j1", "-o", target, "--json")
    assert json.loads(result.out) == {"job": "j1", "folder": str(target)}
    assert not (target / "quality").exists()
    assert "All 6 files" in stdo("verify", target).out
    assert stdo("fetch", service.url, "j1", "-o", target, "--all").code == 0
    assert "All 7 files" in stdo("verify", target).out
    network = target / "networks" / "0.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    (target / "index.bin").unlink()
    damaged = stdo("verify", target, "--json")
    assert damaged.code == 1
    checks = json.loads(damaged.out)
    assert not checks["ok"]
    assert [check["path"] for check in checks["files"] if check["problem"]] == ["networks/0.onnx", "index.bin"]
    assert "damaged networks/0.onnx" in stdo("verify", target).out


def test_a_damaged_report_is_told(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    (copy / "quality" / "report.json").write_bytes(b"[]")
    told = stdo("verify", copy)
    assert (told.code, "damaged quality/report.json" in told.out) == (1, True)


def test_a_deep_look_finds_what_hashes_do_not(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    right = stdo("verify", bundle_folder, "--deep")
    assert (right.code, "So are the networks and every frame." in right.out) == (0, True)
    assert "5/5 frames" in right.err
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["base_stream"]["audio_codec"] = "opus"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert stdo("verify", copy).code == 0
    told = stdo("verify", copy, "--deep")
    assert told.code == 1
    assert "The sound is aac; the manifest says opus." in told.out
    document = json.loads(stdo("verify", copy, "--deep", "--json").out)
    assert not document["ok"]
    assert document["findings"] == [{"part": "segment 0", "problem": "The sound is aac; the manifest says opus."}]


def test_a_stripped_copy_verifies(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "new" / "copy"
    result = stdo("strip", bundle_folder, "-o", copy, "--json")
    assert result.code == 0, result.err
    byte_count = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    assert json.loads(result.out) == {"folder": str(copy), "bytes": byte_count}
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest.keys() & {"source", "quality", "provenance"} == set()
    assert not (copy / "quality").exists()
    assert stdo("verify", copy, "--deep").code == 0
    with open_bundle(copy) as stripped, open_bundle(bundle_folder) as whole:
        for ours, theirs in zip(reconstruct(stripped), reconstruct(whole), strict=True):
            np.testing.assert_array_equal(ours.rgb, theirs.rgb)
    shown = stdo("info", copy)
    assert (shown.code, "45x29, 5 frames" in shown.out, "source" in shown.out) == (0, True, False)
    again = stdo("strip", bundle_folder, "-o", copy)
    assert (again.code, "isn't empty" in again.err) == (2, True)
    file = stdo("strip", bundle_folder, "-o", copy / "base.mp4")
    assert (file.code, "Choose another folder" in file.err) == (2, True)


def test_info_of_a_folder_and_of_a_url(stdo: RunStdo, service: ScriptedService, bundle_folder: Path) -> None:
    service.bundle_folder = bundle_folder
    url = f"{service.url}/v1/jobs/j1/bundle/manifest.json"
    told = stdo("info", bundle_folder)
    assert told.code == 0
    for words in ("45x29, 5 frames", "sound: aac", "networks (2)", "segment table", "restored", 'codecs="avc1.'):
        assert words in told.out
    assert stdo("info", url).out == told.out
    document = json.loads(stdo("info", url, "--json").out)
    parts = document["bytes"]
    assert parts["total"] == sum(count for part, count in parts.items() if part != "total")
    assert parts["manifest"] == (bundle_folder / "manifest.json").stat().st_size
    assert document["manifest"]["bundle_id"] == "test-bundle"


def test_info_shows_what_a_manifest_says_as_it_is(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    manifest["source"]["container"] = "[/bold] mp4"
    manifest["provenance"]["device"] = "\x1b]0;title\x07"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    told = stdo("info", tmp_path)
    assert told.code == 0
    assert "in [/bold] mp4" in told.out
    assert "trained on \N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}" in told.out


def test_what_a_manifest_says_can_not_steer_the_terminal(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    manifest["bundle_id"] = "name\x1b]0;title\x07 \x9b2J \u202e"
    manifest["base_stream"]["mime_type"] = 'video/mp4; codecs="\x1b[31m"'
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder, copy)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    shown = stdo("info", copy)
    assert "name\N{REPLACEMENT CHARACTER}]0;title" in shown.out
    looked_at = stdo("verify", copy, "--deep")
    assert 'the manifest says video/mp4; codecs="\N{REPLACEMENT CHARACTER}[31m"' in looked_at.out
    absent = stdo("info", tmp_path / "\x1b[31m\\[bold]name")
    assert "\N{REPLACEMENT CHARACTER}[31m\\[bold]name" in absent.err
    for result in (shown, looked_at, absent):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*result.out, *result.err}


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
