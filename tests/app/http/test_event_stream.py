from __future__ import annotations

from app.http.event_stream import events_after
from core.callers import LOCAL_CALLER, Caller
from tests.core.samples import training_job
from tests.deployments import Deployment


def test_anothers_job_has_no_events_and_none_to_come(embedded_deployment: Deployment) -> None:
    database = embedded_deployment.database
    job_id = training_job(database, training_count=1)
    stranger = Caller(tenant="stranger", api_key_id=None)
    assert events_after(database, stranger, job_id, 0) == ([], True)
    mine, ended = events_after(database, LOCAL_CALLER, job_id, 0)
    assert mine
    assert not ended
