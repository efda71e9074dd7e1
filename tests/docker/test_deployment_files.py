"""What can be wrong with docker-compose.yml and the Dockerfile, found without a Docker engine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis import Redis
from redis.exceptions import RedisError

from core.settings import REQUIRED_WHEN_DEPLOYED, Settings, variable_name
from core.task_queue import QUEUES
from core.valkey_server import prepare_valkey
from tests.deployments import settings_of
from tests.servers import S3Server, free_port

ROOT = Path(__file__).parent.parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:\?|:-)?[^}]*\}")
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
FILLED_IN = {**EXAMPLE, **{name: f"{name.lower()}-{secrets.token_hex(8)}" for name in SECRETS}}
DOCUMENT: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda match: FILLED_IN[match[1]], COMPOSE).replace("$$", "$"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
IMAGES = ("api", "worker")


def stage(name: str) -> str:
    """The lines of one `FROM` of the Dockerfile."""
    return next(part for part in DOCKERFILE.split("\nFROM ") if part.partition("\n")[0].endswith(f" AS {name}"))


def copied(image: str) -> list[tuple[str, ...]]:
    """The words of each COPY of an image: sources and target."""
    lines = re.findall(r"^COPY (.+)$", stage("base") + "\n" + stage(image), flags=re.MULTILINE)
    return [tuple(line.split()) for line in lines]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What each image has in its /service, and nothing else of the checkout."""
    made = {}
    for image in IMAGES:
        made[image] = tmp_path_factory.mktemp(image)
        for *sources, target in copied(image):
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, made[image] / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, made[image] / target)
    return made


def run_in(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=folder, env={"PATH": "", "COLUMNS": "200"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class TestEnvironment:
    def test_no_secret_has_a_default(self) -> None:
        operators = {name: operator for name, operator in VARIABLE.findall(COMPOSE) if name in SECRETS}
        assert operators == dict.fromkeys(SECRETS, ":?")
        assert all(EXAMPLE[name] == "" for name in SECRETS)

    def test_the_example_names_what_is_used_and_nothing_else(self) -> None:
        # Compose itself reads COMPOSE_PROFILES.
        assert {name for name, _ in VARIABLE.findall(COMPOSE)} | {"COMPOSE_PROFILES"} == set(EXAMPLE)

    @pytest.mark.parametrize("name", OURS)
    def test_every_variable_is_a_setting(self, name: str) -> None:
        environment = OURS[name]["environment"]
        assert set(environment) <= {variable_name(field) for field in Settings.model_fields}
        assert {variable_name(field) for field in REQUIRED_WHEN_DEPLOYED} <= set(environment)
        settings = settings_of(environment)
        assert settings.mode == "deployed"
        assert FILLED_IN["REDIS_PASSWORD"] in settings.broker_url

    def test_hosts_in_urls_are_services(self) -> None:
        values = " ".join(value for service in OURS.values() for value in service["environment"].values())
        assert set(re.findall(r"(?:@|http://)([a-z][a-z0-9-]*)(?=[:/])", values)) <= {*SERVICES, "localhost"}


class TestServices:
    @pytest.mark.parametrize("profile", ["gpu", "cpu"])
    def test_every_queue_has_a_worker(self, profile: str) -> None:
        commands = [" ".join(it["command"]) for it in OURS.values() if profile in it.get("profiles", [profile])]
        assert set(re.findall(r"--queue (\w+)", " ".join(commands))) == set(QUEUES)

    def test_dependencies_and_volumes_exist(self) -> None:
        for service in SERVICES.values():
            assert set(service.get("depends_on", ())) <= set(SERVICES)
            volumes = {volume.split(":")[0] for volume in service.get("volumes", ())}
            assert volumes <= set(DOCUMENT["volumes"])

    def test_nothing_is_published_beyond_this_machine(self) -> None:
        ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)


class TestImages:
    @pytest.mark.parametrize("image", IMAGES)
    def test_nothing_copied_is_ignored(self, image: str) -> None:
        kept = re.findall(r"^!(.+)$", (ROOT / "docker" / "Dockerfile.dockerignore").read_text(), flags=re.MULTILINE)
        assert {source.split("/")[0] for *sources, _ in copied(image) for source in sources} <= set(kept)

    @pytest.mark.parametrize("image", IMAGES)
    def test_it_does_not_run_as_root(self, image: str) -> None:
        before, _, after = stage(image).partition("\nUSER stdo\n")
        assert "USER" not in before
        assert not re.search(r"^(USER|RUN|COPY) ", after, flags=re.MULTILINE)

    @pytest.mark.parametrize("name", OURS)
    def test_every_command_is_one_of_its_image(self, name: str, folders: dict[str, Path]) -> None:
        python, option, *words = OURS[name]["command"]
        assert (python, option) == ("python", "-m")
        shown = run_in(folders[OURS[name]["build"]["target"]], "-m", *words[:2], "--help")
        assert [word for word in words if word.startswith("--") and word not in shown] == []

    @pytest.mark.parametrize(
        ("image", "module"),
        [
            ("api", "app.main"),
            ("api", "workers.tasks.beat"),
            ("worker", "workers.tasks.celery"),
            ("worker", "workers.sandbox.child"),
        ],
    )
    def test_it_has_what_a_command_imports(self, image: str, module: str, folders: dict[str, Path]) -> None:
        code = f"import sys, {module} as it; print(it.__file__, *{{'torch', 'av', 'onnx'}} & set(sys.modules))"
        path, *heavy = run_in(folders[image], "-c", code).split()
        assert Path(path).is_relative_to(folders[image])
        assert image == "worker" or not heavy, "the api image has none of these"


class TestServers:
    def test_the_broker_starts_as_written(self, tmp_path: Path) -> None:
        """The command of the service `redis`, with the valkey-server of the tests, in a folder of ours."""
        shell, flag, script = SERVICES["redis"]["command"]
        program, port = prepare_valkey(tmp_path / "unused", port=1, password="unused")[0], free_port()
        script = script.replace("valkey-server -", f"{program} - --port {port}").replace("/data", str(tmp_path))
        environment = {**SERVICES["redis"]["environment"], "PATH": os.environ["PATH"]}
        with subprocess.Popen([shell, flag, script], env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                with Redis.from_url(f"redis://:{FILLED_IN['REDIS_PASSWORD']}@127.0.0.1:{port}/0") as client:
                    deadline = time.monotonic() + 20
                    while not answers(client):
                        assert time.monotonic() < deadline
                    assert client.config_get("appendonly") == {"appendonly": "yes"}
                assert FILLED_IN["REDIS_PASSWORD"] not in Path(f"/proc/{process.pid}/cmdline").read_text()
            finally:
                process.kill()

    def test_the_store_has_every_option(self) -> None:
        command, *options = SERVICES["s3"]["command"]
        weed = Path(sys.executable).with_name("weed")
        shown = subprocess.run([str(weed), command, "-h"], capture_output=True, text=True, check=False)
        known = set(re.findall(r"^  (-[\w.]+)", shown.stdout + shown.stderr, flags=re.MULTILINE))
        assert {option.split("=")[0] for option in options} <= known

    def test_the_store_answers_its_health_check(self, s3_server: S3Server) -> None:
        _, command = SERVICES["s3"]["healthcheck"]["test"]
        (path,) = re.findall(r"http://127\.0\.0\.1:8333(/\w+)", command)
        assert httpx.get(s3_server.endpoint_url + path, trust_env=False).status_code == 200


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        time.sleep(0.05)
        return False
