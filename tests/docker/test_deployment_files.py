"""What can be known of docker-compose.yml and the Dockerfile without a Docker engine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from core.settings import REQUIRED_WHEN_DEPLOYED, Settings, variable_name
from core.task_queue import QUEUES
from core.valkey_server import prepare_valkey
from tests.deployments import settings_of
from tests.docker.compose import (
    COMPOSE_FILE,
    ROOT,
    VARIABLE,
    copies_of,
    interpolated,
    load_services,
    load_stages,
    variables_of_example,
)
from tests.servers import S3Server, free_port

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
FILLED_IN = {**variables_of_example(), **{name: f"{name.lower()}-{secrets.token_hex(8)}" for name in SECRETS}}
SERVICES = load_services(FILLED_IN)
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("stdo-")}
STAGES = load_stages()


def build_context(target: str, folder: Path) -> Path:
    """The files that an image has in its /service, and nothing else of the checkout."""
    for sources, destination in copies_of(STAGES[target], STAGES):
        to_folder = destination.endswith("/") or len(sources) > 1
        for source in sources:
            target_path = folder / destination / source.name if to_folder else folder / destination
            target_path.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target_path, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target_path)
    return folder


@pytest.fixture(scope="module")
def image_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {target: build_context(target, tmp_path_factory.mktemp(target)) for target in ("api", "worker")}


class TestEnvironment:
    def test_no_secret_has_a_default(self) -> None:
        for name in SECRETS:
            assert variables_of_example()[name] == ""
            with pytest.raises(KeyError, match=name):
                load_services({**FILLED_IN, name: ""})

    def test_the_example_names_what_is_used_and_nothing_else(self) -> None:
        used = {match["name"] for match in VARIABLE.finditer(COMPOSE_FILE.read_text())}
        # Compose itself reads COMPOSE_PROFILES.
        assert used | {"COMPOSE_PROFILES"} == set(variables_of_example())

    @pytest.mark.parametrize("name", OURS)
    def test_every_variable_is_a_setting(self, name: str) -> None:
        environment = OURS[name]["environment"]
        known = {variable_name(field) for field in Settings.model_fields}
        assert set(environment) <= known
        settings = settings_of(environment)
        assert settings.mode == "deployed"
        assert {variable_name(field) for field in REQUIRED_WHEN_DEPLOYED} <= set(environment)
        assert FILLED_IN["POSTGRES_PASSWORD"] in settings.effective_database_url
        assert FILLED_IN["REDIS_PASSWORD"] in settings.broker_url

    def test_the_images_set_real_settings_too(self) -> None:
        known = {variable_name(field) for field in Settings.model_fields}
        text = " ".join(rest for keyword, rest in STAGES["base"].instructions if keyword == "ENV")
        named = set(re.findall(r"STDO_\w+", text))
        assert named
        assert named <= known

    def test_hosts_in_urls_are_services(self) -> None:
        for service in OURS.values():
            for value in service["environment"].values():
                for host in re.findall(r"(?:@|http://)([a-z][a-z0-9-]*)(?=[:/])", value):
                    assert host in {*SERVICES, "localhost"}


class TestServices:
    def test_all_parts_are_there(self) -> None:
        assert {"api", "beat", "migrate", "worker-cpu", "worker-gpu", "postgres", "redis", "s3"} <= set(SERVICES)

    def test_every_queue_has_a_worker_in_every_profile(self) -> None:
        for profile in ("gpu", "cpu"):
            served = set()
            for service in OURS.values():
                words = service["command"]
                if profile in service.get("profiles", [profile]) and "--queue" in words:
                    served |= {words[place + 1] for place, word in enumerate(words) if word == "--queue"}
            assert served == set(QUEUES)

    def test_dependencies_and_volumes_exist(self) -> None:
        document = interpolated(COMPOSE_FILE.read_text(), FILLED_IN)
        for service in SERVICES.values():
            for needed, condition in service.get("depends_on", {}).items():
                assert needed in SERVICES
                if condition["condition"] == "service_healthy":
                    assert SERVICES[needed]["healthcheck"]["test"]
            for volume in service.get("volumes", ()):
                assert f"\n  {volume.split(':')[0]}:" in document

    def test_nothing_is_published_beyond_this_machine(self) -> None:
        ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_the_gpu_worker_has_a_gpu(self) -> None:
        (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}

    @pytest.mark.skipif(
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0
        if shutil.which("docker")
        else True,
        reason="needs Docker's compose plugin; the structure is tested without it",
    )
    def test_docker_reads_the_file(self) -> None:
        subprocess.run(
            ["docker", "compose", "--file", str(COMPOSE_FILE), "config", "--quiet"],
            check=True,
            env={**os.environ, **FILLED_IN},
        )


class TestImages:
    @pytest.mark.parametrize("target", ["api", "worker"])
    def test_every_copied_file_is_there(self, target: str) -> None:
        copies = copies_of(STAGES[target], STAGES)
        assert copies
        for sources, _ in copies:
            for source in sources:
                assert source.exists(), f"{source} is copied into {target}"

    @pytest.mark.parametrize("target", ["api", "worker"])
    def test_nothing_copied_is_ignored(self, target: str) -> None:
        kept = {
            line.removeprefix("!")
            for line in (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
            if line.startswith("!")
        }
        for sources, _ in copies_of(STAGES[target], STAGES):
            for source in sources:
                assert source.relative_to(ROOT).parts[0] in kept

    def test_every_built_target_exists(self) -> None:
        for service in OURS.values():
            assert (ROOT / service["build"]["dockerfile"]).exists()
            assert service["build"]["target"] in STAGES
            assert set(service["build"].get("args", {})) <= {"TORCH_INDEX_URL"}

    @pytest.mark.parametrize("target", ["api", "worker"])
    def test_it_does_not_run_as_root(self, target: str) -> None:
        keywords = [keyword for keyword, _ in STAGES[target].instructions]
        users = [rest for keyword, rest in STAGES[target].instructions if keyword == "USER"]
        assert users == ["stdo"]
        assert keywords.index("USER") > max(place for place, word in enumerate(keywords) if word in ("RUN", "COPY"))

    @pytest.mark.parametrize("words", sorted({tuple(service["command"][:4]) for service in OURS.values()}))
    def test_every_command_is_one_of_its_image(self, words: tuple[str, ...], image_folders: dict[str, Path]) -> None:
        users = [service for service in OURS.values() if tuple(service["command"][:4]) == words]
        assert words[:2] == ("python", "-m")
        (target,) = {service["build"]["target"] for service in users}
        shown = run_in_image(image_folders[target], "-m", *words[2:], "--help")
        used = {word for service in users for word in service["command"][4:] if word.startswith("--")}
        assert {option for option in used if option not in shown} == set()

    @pytest.mark.parametrize(
        ("target", "modules"),
        [("api", ("app.main", "workers.tasks.beat")), ("worker", ("workers.tasks.celery", "workers.sandbox.child"))],
    )
    def test_everything_a_command_imports_is_in_its_image(
        self, target: str, modules: tuple[str, ...], image_folders: dict[str, Path]
    ) -> None:
        for module in modules:
            shown = run_in_image(image_folders[target], "-c", f"import {module} as it; print(it.__file__)")
            assert Path(shown.strip()).is_relative_to(image_folders[target])


def run_in_image(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


class TestServers:
    def test_the_broker_starts_as_written(self, tmp_path: Path) -> None:
        """The command of the service `redis`, with the valkey-server of the tests, in a folder of ours."""
        shell, flag, script = SERVICES["redis"]["command"]
        assert (shell, flag) == ("sh", "-c")
        program = prepare_valkey(tmp_path / "unused", port=1, password="unused")[0]
        port = free_port()
        script = script.replace("valkey-server -", f"{program} - --port {port}").replace("/data", str(tmp_path))
        environment = {**SERVICES["redis"]["environment"], "PATH": os.environ["PATH"]}
        with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as process:
            try:
                with Redis.from_url(f"redis://:{FILLED_IN['REDIS_PASSWORD']}@127.0.0.1:{port}/0") as client:
                    deadline = time.monotonic() + 20
                    while not answers(client):
                        assert time.monotonic() < deadline
                    assert client.config_get("appendonly") == {"appendonly": "yes"}
                command_line = Path(f"/proc/{process.pid}/cmdline")
                if command_line.exists():
                    assert FILLED_IN["REDIS_PASSWORD"] not in command_line.read_text()
            finally:
                process.kill()

    def test_the_store_has_every_option(self) -> None:
        command, *options = SERVICES["s3"]["command"]
        weed = Path(sys.executable).with_name("weed")
        answer = subprocess.run([str(weed), command, "-h"], capture_output=True, text=True, check=False)
        known = set(re.findall(r"^  (-[\w.]+)", answer.stdout + answer.stderr, flags=re.MULTILINE))
        assert len(known) > 50
        assert {option.split("=")[0] for option in options} <= known

    def test_the_store_answers_its_health_check(self, s3_server: S3Server) -> None:
        _, command = SERVICES["s3"]["healthcheck"]["test"]
        (path,) = re.findall(r"http://127\.0\.0\.1:8333(/\w+)", command)
        assert httpx.get(s3_server.endpoint_url + path).status_code == 200

    def test_the_bucket_is_the_one_that_the_service_uses(self) -> None:
        assert f"-bucket={OURS['api']['environment']['STDO_S3_BUCKET']}" in SERVICES["s3"]["command"]
        assert "-s3.port=8333" in SERVICES["s3"]["command"]
        assert OURS["api"]["environment"]["STDO_S3_ENDPOINT_URL"] == "http://s3:8333"


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        time.sleep(0.05)
        return False
