from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import job_states
from core.claims import Claim
from core.progress import StageReport
from tests.core.samples import LEASE, NOON, after, claim, load_job, task_id_of, training_job
from tests.deployments import Deployment

steps = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 30)), max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_progress_never_goes_back_whatever_workers_say(
    embedded_deployment: Deployment, steps: list[tuple[int, int | None, int]]
) -> None:
    """A network's worker reports any number of steps, or (None) is taken its task away."""
    database = embedded_deployment.database
    job_id = training_job(database)
    now = NOON
    held: dict[int, Claim | None] = {0: None, 1: None}
    before = load_job(database, job_id).progress
    for network, done, seconds in steps:
        now += timedelta(seconds=seconds)
        with database.transaction() as session:
            if done is None:
                job_states.reap(session, now=now, max_attempts=100, include_live=True)
                held = dict.fromkeys(held)
                continue
            one = held[network] or job_states.claim(
                session, task_id_of(database, job_id, "train_network", network), now=now, lease=LEASE
            )
            assert one is not None
            report = StageReport(stage="train", done=done, total=100, unit="steps")
            assert not job_states.heartbeat(session, one, now=now, report=report).lost
            held[network] = one
        job = load_job(database, job_id)
        assert before <= job.progress <= 1
        assert job.eta_seconds is None or job.eta_seconds >= 0
        assert job.speed is None or job.speed > 0
        before = job.progress


def test_a_pause_at_the_same_step_is_no_speed_of_its_own(embedded_deployment: Deployment) -> None:
    database = embedded_deployment.database
    job_id = training_job(database, network_count=1)
    held = claim(database, job_id, "train_network", 0)
    for seconds, done in ((0, 0), (5, 0), (10, 100)):
        report = StageReport(stage="train", done=done, total=1000, unit="steps")
        with database.transaction() as session:
            job_states.heartbeat(session, held, now=after(seconds), report=report)
    # 100 steps took all 10 seconds since the last step was seen.
    assert load_job(database, job_id).speed == 10
