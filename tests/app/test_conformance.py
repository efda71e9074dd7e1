"""The API against its own OpenAPI document: requests made up by a machine, valid and not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from app.serve.child_processes import PROJECT_FOLDER
from stdo.networks.general import GENERAL
from tests.app.live import LiveApi
from tests.app.published import publish

EXAMPLES = 10
SECONDS = 300
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    # Not positive_data_acceptance: that settings contradict each other, or a cursor is not ours, no schema can say.
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    # Not ignored_auth: the key given as --header is sent where the check means to leave it out.
    # test_dependencies.py asks without keys.
)


def test_requests_made_up_by_a_machine(api: LiveApi, tmp_path: Path) -> None:
    # A job that has ended, whose stream of events ends too.
    published = publish(api, tmp_path)
    known = {"job_id": published.job_id, "video_id": api.upload()["id"], "path": "base.mp4"}
    known["sha256"] = next(iter(GENERAL))
    command = [
        *(str(Path(sys.executable).with_name("st")), "run", f"{api.url}/openapi.json", "--no-color"),
        # A stream of events ends with its job, and nothing works on the jobs that are made up here.
        *("--exclude-operation-id", "stream_job_events"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--generation-deterministic"),
        *("--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", "30", "--max-redirects", "0"),
        *(f"--header={name}:{value}" for name, value in api.client.headers.items() if name == "authorization"),
    ]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT_FOLDER),
            "SCHEMATHESIS_HOOKS": "tests.app.fuzzing_hooks",
            "KNOWN_PATH_PARAMETERS": json.dumps(known),
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-5000:]
