"""The image and the compose file, judged without an engine: by the tools of their makers, and by what they refer to."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # tests alone read YAML, and only as dicts

from publisher import VERSION
from requirements import lock
from runtime import settings as runtime_settings
from runtime.settings import CONFIG_VARIABLE, Settings, variable
from tests.support.dockerfile import DOCKERFILE, ROOT, stages, words

COMPOSE = ROOT / "deploy" / "compose.yaml"
OURS = {"migrate", "api", "worker", "signer"}
KNOWN = {variable(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
#: A registry's host has a dot, a port, or is localhost (the reference grammar of distribution).
HOST = re.compile(r"^(localhost|[^/]*[.:][^/]*)/")
#: Programs of our wheels, where the platform has them.
TOOLS = {name: shutil.which(name, path=str(Path(sys.executable).parent)) for name in ("docker-compose", "hadolint")}


def tool(name: str, *arguments: str, **environ: str) -> str:
    program = TOOLS[name]
    if program is None:
        pytest.skip(f"{name} is not there: make setup, on a platform it has a wheel for")
    ran = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], **environ},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The compose file as Docker's compose understands it, all profiles included, with a key to sign with."""
    return composed(FEED_KEY="0123456789ABCDEF0123456789ABCDEF01234567")


def composed(**environ: str) -> dict[str, Any]:
    shown = tool("docker-compose", "--file", str(COMPOSE), "--profile", "*", "config", "--format", "json", **environ)
    read: dict[str, Any] = json.loads(shown)
    return read


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = project["services"]
    return found


# --- the image -------------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    assert tool("hadolint", "--no-color", str(DOCKERFILE)) == ""


def test_what_is_shipped_is_a_stage_of_its_own_on_the_same_base() -> None:
    build, shipped = stages()
    assert build.base == f"{shipped.base} AS build"
    assert "-slim" in shipped.base
    assert HOST.match(shipped.base) is None
    assert f"python:{lock.IMAGE['python_version']}-" in shipped.base


def test_everything_is_installed_by_hash() -> None:
    build, shipped = stages()
    installs = [part for rest in build.all("RUN") for part in rest.split("&&") if " install " in part]
    assert len(installs) == 3
    assert all("--require-hashes" in part or "--no-deps --no-index" in part for part in installs)
    assert not any("pip" in rest for rest in shipped.all("RUN"))


def test_a_container_is_nobody_special_and_is_watched() -> None:
    shipped = stages()[-1]
    user, _, group = shipped.one("USER").partition(":")
    assert user == group
    assert int(user) >= 10_000
    assert words(shipped.one("ENTRYPOINT")) == ["heliograph"]
    assert words(shipped.one("CMD")) == ["serve"]
    assert shipped.one("STOPSIGNAL") == "SIGTERM"
    assert shipped.healthcheck[0] == "python"
    assert not any("curl" in rest or "wget" in rest for rest in shipped.all("RUN"))


def test_no_layer_has_a_secret_nor_a_setting_that_does_not_exist() -> None:
    for stage in stages():
        ours = {name for name in stage.environ if name.startswith("HELIOGRAPH_")}
        assert ours <= KNOWN
        assert not any(re.search("SECRET|PASSWORD|KEY|DATABASE", name) for name in ours)
        assert not stage.all("ADD")


def test_its_labels_say_what_it_is() -> None:
    shipped = stages()[-1]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', shipped.one("LABEL")))
    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    assert f"VERSION={VERSION}" in shipped.all("ARG")


def test_the_context_has_what_is_copied_and_is_closed_to_the_rest() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"

    def is_sent(path: str) -> bool:
        sent = True
        for pattern in patterns:  # the last that fits decides
            bare = pattern.removeprefix("!").removeprefix("**/")
            if fnmatch.fnmatch(path, bare) or path.startswith(f"{bare}/") or f"/{bare}/" in f"/{path}/":
                sent = pattern.startswith("!")
        return sent

    copied = [
        source
        for stage in stages()
        for rest in stage.all("COPY")
        if "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert len(copied) > 8
    for source in copied:
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    for private in (".git/config", ".venv/bin/python", "deploy/secrets/heliograph.toml", "tests/conftest.py", ".env"):
        assert not is_sent(private), private
    assert not is_sent("publisher/__pycache__/app.cpython-311.pyc")


# --- the compose file ------------------------------------------------------------------------------------------------


def test_compose_takes_the_file(services: dict[str, dict[str, Any]]) -> None:
    assert services.keys() == OURS | {"postgres", "kafka", "topics", "prometheus", "grafana"}


def test_every_image_has_a_version_and_no_registry(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert image, f"{name}: {service['image']} has no tag"
        assert tag != "latest"
        assert HOST.match(service["image"]) is None


def test_kafka_is_the_version_the_tests_run_on(services: dict[str, dict[str, Any]]) -> None:
    pom = (ROOT / "tests" / "support" / "apache_kafka" / "pom.xml").read_text()
    versions = re.findall(r"<artifactId>kafka[\w.-]*</artifactId>\s*<version>([^<]+)<", pom)
    assert versions
    assert {services[name]["image"] for name in ("kafka", "topics")} == {f"apache/kafka:{versions[0]}"}


def test_every_setting_exists_and_the_services_can_read_theirs(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        environ = {key: value or "" for key, value in services[name]["environment"].items()}
        assert environ.keys() <= KNOWN, name
        environ.pop(CONFIG_VARIABLE, None)
        runtime_settings.load(environ=environ)
        assert not any(re.search("SECRET|PASSWORD|DATABASE", key) for key in environ), "secrets are files"


def test_the_secrets_that_are_documented_are_those_that_are_mounted(project: dict[str, Any], tmp_path: Path) -> None:
    """The document's own script is run; what it makes is what the service and its neighbours are given."""
    [script] = re.findall(
        r"^```bash\n(.*?)^```", (ROOT / "docs" / "deploying.md").read_text(), re.MULTILINE | re.DOTALL
    )
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, check=True)
    folder = tmp_path / "deploy" / "secrets"
    wanted = {Path(each["file"]) for each in project["secrets"].values()}
    assert {ROOT / path.relative_to(tmp_path) for path in folder.iterdir()} == wanted
    assert folder.stat().st_mode & 0o777 == 0o700
    settings = runtime_settings.load(folder / "heliograph.toml", environ={})
    settings.require("database_url", "secret_keys", "jwt_secret")
    password = (folder / "postgres_password").read_text()
    assert settings.dsn() == f"postgresql://heliograph:{password}@postgres/heliograph"


def test_what_is_mounted_is_there_and_only_volumes_are_written(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes") or ():
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), f"{name}: {mount['source']}"
                assert mount["read_only"] is True, f"{name}: {mount['source']}"


def test_every_container_is_contained(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") is True or name in {"kafka", "topics"}, name
        assert "privileged" not in service
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports") or ()), name


def test_nothing_starts_before_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name in ("api", "worker"):
        conditions = {needed: each["condition"] for needed, each in services[name]["depends_on"].items()}
        assert conditions == {
            "migrate": "service_completed_successfully",
            "topics": "service_completed_successfully",
            "signer": "service_healthy",
        }
        assert services[name]["depends_on"]["signer"]["required"] is False
    for name, service in services.items():
        for needed, each in (service.get("depends_on") or {}).items():
            if each["condition"] == "service_healthy" and services[needed]["image"] != services["api"]["image"]:
                assert services[needed]["healthcheck"]["test"], f"{name} waits for {needed}"


def test_the_signer_has_the_key_and_no_network_and_the_others_have_the_socket_alone(
    services: dict[str, dict[str, Any]],
) -> None:
    signer = services["signer"]
    assert signer["network_mode"] == "none"
    assert not signer.get("secrets")
    places = {
        name: {mount["source"]: mount["target"] for mount in services[name].get("volumes") or ()} for name in OURS
    }
    assert [name for name in OURS if "keyring" in places[name]] == ["signer"]
    for name in ("signer", "api", "worker"):
        socket = services[name]["environment"]["HELIOGRAPH_SIGNER_SOCKET"]
        assert Path(socket).parent == Path(places[name]["signer-socket"])
    shipped = stages()[-1]
    for volume in places["signer"].values():  # a new volume has the owner and the mode of the folder in the image
        assert volume in shipped.one("RUN")


def test_without_a_key_nobody_is_asked_to_sign_and_workers_are_as_many_as_is_said() -> None:
    services = composed()["services"]
    assert [services[name]["environment"]["HELIOGRAPH_SIGNER_SOCKET"] for name in ("api", "worker")] == ["", ""]
    assert services["worker"]["scale"] == 1
    assert composed(WORKERS="3")["services"]["worker"]["scale"] == 3


def test_kafka_postgres_and_the_admin_listeners_are_not_reachable_from_outside(
    project: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    assert project["networks"]["inside"]["internal"] is True
    for name in ("kafka", "postgres", "migrate", "topics"):
        assert services[name]["networks"].keys() == {"inside"}
    published = {(name, port["target"]) for name, each in services.items() for port in each.get("ports") or ()}
    assert published == {("api", 8080), ("prometheus", 9090), ("grafana", 3000)}


def test_the_topics_that_are_made_are_those_the_service_wants(tmp_path: Path) -> None:
    recorder = tmp_path / "kafka-topics.sh"
    recorder.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    recorder.chmod(0o755)
    script = ROOT / "deploy" / "kafka" / "topics.sh"
    environ = {"PATH": os.environ["PATH"], "KAFKA_TOPICS": str(recorder)}
    subprocess.run(["sh", script, "kafka:9092", "1"], env=environ, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    topics = {words[words.index("--topic") + 1]: words for words in map(str.split, asked)}
    defaults = {field.default for name, field in Settings.model_fields.items() if name.startswith("kafka_topic_")}
    assert topics.keys() == defaults
    compacted = {name for name, words in topics.items() if "cleanup.policy=compact" in words}
    assert compacted == {Settings.model_fields["kafka_topic_credentials"].default}
    assert all({"--if-not-exists", "kafka:9092"} <= set(words) for words in topics.values())


def test_prometheus_and_grafana_differ_in_addresses_alone() -> None:
    def read(*parts: str) -> Any:
        return yaml.safe_load(Path(ROOT, "deploy", *parts).read_text())

    theirs, ours = read("compose", "prometheus.yml"), read("prometheus", "prometheus.yml")
    [job] = theirs.pop("scrape_configs")
    [other] = ours.pop("scrape_configs")
    later = {"rules/canary.yml", "rules/compute_api.yml"}  # of what a stack that has just been started does not have
    ours["rule_files"] = [each for each in ours["rule_files"] if each not in later]
    assert theirs == ours
    text = Path(ROOT, "deploy", "compose", "prometheus.yml").read_text()
    assert all(f"# - {each} # once " in text for each in later)
    assert job["job_name"] == other["job_name"]
    assert set(job["dns_sd_configs"][0]["names"]) == OURS - {"migrate", "signer"}
    theirs, ours = read("compose", "datasource.yml"), read("grafana", "provisioning", "datasources", "prometheus.yml")
    assert theirs["datasources"][0].pop("url") == "http://prometheus:9090"
    ours["datasources"][0].pop("url")
    assert theirs == ours
