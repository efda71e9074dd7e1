from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from core.errors import BrokerUnavailableError, SettingsError
from core.outbox import PartMessage
from core.settings import Settings
from core.task_queue import check_broker, make_celery, make_database, make_sender, queue_depth
from core.valkey_server import prepare_valkey, valkey_url
from tests import servers
from tests.core.samples import encoded_job, new_video, part_id_of
from tests.deployments import Deployment, settings_of

ROOT = Path(__file__).parent.parent.parent
WORKER = """
import sys, time
from pathlib import Path
from core.settings import load_settings
from core.task_queue import TASK_NAME, make_celery

celery = make_celery(load_settings())
folder = Path(sys.argv[1])

@celery.task(name=TASK_NAME)
def part(queue):
    number = len(list(folder.glob("started-*")))
    (folder / f"started-{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    (folder / f"ended-{number}").touch()

celery.worker_main(["worker", "--pool", "threads", "--concurrency", "1", "--queues", "cpu", "--loglevel", "WARNING",
                    "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def worker(deployment: Deployment, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WORKER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env={**dict(deployment.environment), "PATH": ""}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def without_broker(embedded_deployment: Deployment) -> Settings:
    return settings_of({**embedded_deployment.environment, "STDO_REDIS_URL": "redis://127.0.0.1:9/0"})


def messages(settings: Settings, queue: str) -> list[dict[str, object]]:
    with Redis.from_url(settings.broker_url) as client:
        raw = client.lrange(queue, 0, -1)
    assert isinstance(raw, list)
    return [json.loads(item) for item in raw]


class TestSending:
    def test_a_message_names_the_queue_and_nothing_else(self, deployment: Deployment) -> None:
        new_video(deployment.database)
        (message,) = messages(deployment.settings, "cpu")
        assert message["content-type"] == "application/json"
        assert message["headers"]["task"] == "stdo.part"  # type: ignore[index]
        assert message["headers"]["argsrepr"] == repr(["cpu"])  # type: ignore[index]
        assert messages(deployment.settings, "gpu") == []

    def test_work_for_networks_goes_to_the_gpu_queue(self, deployment: Deployment) -> None:
        encoded_job(deployment.database)
        # The probe's and the encode's messages are there still; nobody has taken them up.
        assert (queue_depth(deployment.settings, "cpu"), queue_depth(deployment.settings, "gpu")) == (2, 1)

    def test_without_a_broker_is_a_warning(self, without_broker: Settings, caplog: pytest.LogCaptureFixture) -> None:
        celery = make_celery(without_broker)
        database = make_database(without_broker, celery)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, logger="core.task_queue"):
            video_id = new_video(database)
        assert time.monotonic() - began < 5
        assert "was not sent; it will be sent again" in caplog.text
        assert part_id_of(database, video_id, "probe") in caplog.text
        database.close()
        celery.close()

    def test_with_a_broker_that_hangs_does_not_hang(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        port = servers.free_port()
        command = prepare_valkey(tmp_path, port=port, password="secret")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            url = valkey_url(port=port, password="secret")
            settings = settings_of({**embedded_deployment.environment, "STDO_REDIS_URL": url})
            wait_until(lambda: broker_answers(settings))
            process.send_signal(signal.SIGSTOP)
            celery = make_celery(settings)
            database = make_database(settings, celery)
            began = time.monotonic()
            new_video(database)
            assert time.monotonic() - began < 30
            assert not broker_answers(settings)
            process.kill()
            database.close()
            celery.close()


def broker_answers(settings: Settings) -> bool:
    try:
        check_broker(settings)
    except BrokerUnavailableError:
        return False
    return True


class TestWorker:
    def test_takes_one_message_at_a_time_and_forgets_it(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        """With the early acknowledgement, a worker that dies takes one message with it, and no more."""
        database, settings = embedded_deployment.database, embedded_deployment.settings
        for _ in range(2):
            new_video(database)
        assert queue_depth(settings, "cpu") == 2
        with worker(embedded_deployment, tmp_path) as process:
            wait_until(lambda: (tmp_path / "started-0").exists())
            # The worker is busy: the second message stays in the queue for others, the first is acknowledged.
            assert queue_depth(settings, "cpu") == 1
            with Redis.from_url(settings.broker_url) as client:
                assert client.hlen("unacked") == 0
            process.kill()
        with worker(embedded_deployment, tmp_path):
            wait_until(lambda: (tmp_path / "started-1").exists())
            (tmp_path / "go").touch()
            wait_until(lambda: (tmp_path / "ended-1").exists())
        assert not (tmp_path / "ended-0").exists()
        assert queue_depth(settings, "cpu") == 0


class TestConfiguration:
    def test_nothing_but_json_is_accepted(self, embedded_deployment: Deployment) -> None:
        conf = embedded_deployment.celery.conf
        assert (conf.accept_content, conf.result_accept_content) == (["json"], ["json"])
        assert (conf.task_serializer, conf.result_serializer) == ("json", "json")

    def test_a_message_outlives_every_lease(self, embedded_deployment: Deployment) -> None:
        settings = embedded_deployment.settings.model_copy(update={"lease_seconds": 100_000.0})
        celery = make_celery(settings)
        assert celery.conf.broker_transport_options["visibility_timeout"] > settings.lease_seconds
        celery.close()

    def test_an_unknown_queue_is_refused(self, embedded_deployment: Deployment) -> None:
        send = make_sender(embedded_deployment.celery)
        with pytest.raises(Exception, match="tpu"):
            send(PartMessage(part_id="1", kind="probe", queue="tpu"))  # type: ignore[arg-type]

    def test_without_a_broker_there_is_no_application(self) -> None:
        with pytest.raises(SettingsError, match="STDO_REDIS_URL"):
            make_celery(Settings())


class TestCheckBroker:
    def test_of_one_that_answers(self, deployment: Deployment) -> None:
        check_broker(deployment.settings)

    def test_of_one_that_does_not(self, without_broker: Settings) -> None:
        with pytest.raises(BrokerUnavailableError):
            check_broker(without_broker)

    def test_of_one_with_another_password(self, embedded_deployment: Deployment) -> None:
        url = embedded_deployment.settings.broker_url.replace("://:", "://:not-")
        with pytest.raises(BrokerUnavailableError):
            check_broker(settings_of({"STDO_REDIS_URL": url}))
