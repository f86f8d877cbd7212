"""Registration of a version on a cluster: the command as a user runs it, against the real service on a socket."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.admin.schedule_pb2 import Schedule
from flytekit.configuration import Image
from google.protobuf.json_format import MessageToDict

import launchplans.registration.bundle
from cli.main import main
from launchplans.registration.bundle import CODE, PACKAGES, SPEC, Version, code_digest, entities
from launchplans.registry import launch_plans, registered_workflows
from tasks.collection import TOKENS
from tasks.environments import SECRETS
from tests.doubles.admin import Admin, serving, unused_endpoint

ROOT = Path(__file__).parents[2]
PLANS = launch_plans()
SCHEDULED = {plan.name for plan in PLANS.values() if plan.schedule}
STORE = "FUELLINE_STORE=s3://fuelline/lakes"
SOURCES = {
    "FUELLINE_LOGS": "/logs",
    "FUELLINE_VLLM": "http://vllm:8001",
    "FUELLINE_PROMETHEUS": "forge=http://prometheus:9090",
    "FUELLINE_LOKI": "forge=http://loki:3100",
    "FUELLINE_KUBERNETES": "forge=https://kubernetes:6443",
    "FUELLINE_GITHUB": "home=https://api.github.com",
    "FUELLINE_TEMPO": "forge=http://tempo:3200",
}
"""What the schedules need, without the broker: its address is a secret."""
IDLE = {"drain_events", "collect_interactions"}
"""Schedules that these sources do not activate: files bring the interactions."""
ACTIVE = SCHEDULED - IDLE


@pytest.fixture
def admin() -> Iterator[Admin]:
    with serving(Admin(projects={"other": ["development"], "agents": ["development", "production"]})) as server:
        yield server


def options(version: str = "v1", **changes: str) -> list[str]:
    chosen = {
        "project": "agents",
        "domain": "production",
        "version": version,
        "cpu-image": f"registry.example/fuelline-cpu:{version}",
        "gpu-image": f"registry.example/fuelline-gpu:{version}",
        "env": STORE,
    }
    sources = [word for name, value in SOURCES.items() for word in ("--env", f"{name}={value}")]
    return [*sources, *(word for name, value in (chosen | changes).items() for word in (f"--{name}", value))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def register(admin: Admin) -> Callable[..., Result]:
    def register(version: str = "v1", *flags: str, **changes: str) -> Result:
        return run("register", *options(version, **changes), "--endpoint", admin.endpoint, "--insecure", *flags)

    return register


def named(stored: dict[Any, Any]) -> dict[str, Any]:
    return {name: request for (_, _, name, _), request in stored.items()}


def everything(admin: Admin) -> list[Any]:
    return [*admin.tasks, *admin.workflows, *admin.launch_plans]


def test_tasks_workflows_and_launch_plans_are_registered_in_this_order_under_one_version(
    admin: Admin, register: Callable[..., Result]
) -> None:
    done = register("v1")
    assert done.exit_code == 0, done.output
    kinds = [write.rsplit(" ", 1)[0] for write in admin.writes]
    assert list(dict.fromkeys(kinds)) == ["task", "workflow", "launch plan", "ACTIVE"]
    assert {key[:2] + key[3:] for key in everything(admin)} == {("agents", "production", "v1")}
    assert set(named(admin.workflows)) == set(registered_workflows())
    assert set(named(admin.launch_plans)) == set(registered_workflows()) | set(PLANS)
    count = f"{len(admin.tasks)} tasks, {len(admin.workflows)} workflows, {len(admin.launch_plans)} launch plans"
    assert f"v1 in agents/production: {count} registered" in done.output
    assert "task         tasks.training.train_adapter" in done.output


def test_every_task_of_a_workflow_is_registered(admin: Admin, register: Callable[..., Result]) -> None:
    register()
    reached = {
        node["taskNode"]["referenceId"]["name"]
        for request in admin.workflows.values()
        for node in _nodes(MessageToDict(request.spec.template))
        if "taskNode" in node
    }
    assert reached == set(named(admin.tasks))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if tree.keys() & {"taskNode", "workflowNode", "branchNode"}:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def test_images_resources_accelerator_and_variables_are_registered_as_declared(
    admin: Admin, register: Callable[..., Result]
) -> None:
    digest = f"registry.example/fuelline-gpu@sha256:{'0' * 64}"
    register("v1", **{"gpu-image": digest})
    tasks = {name.split(".")[-1]: request.spec.template for name, request in named(admin.tasks).items()}
    train = MessageToDict(tasks["train_adapter"])
    requests = {request["name"]: request["value"] for request in train["container"]["resources"]["requests"]}
    assert requests == {"CPU": "8", "MEMORY": "64Gi", "GPU": "2", "EPHEMERAL_STORAGE": "50Gi"}
    assert train["extendedResources"]["gpuAccelerator"]["device"] == "nvidia-tesla-a100"
    assert train["container"]["image"] == digest
    assert tasks["pin_inputs"].container.image == "registry.example/fuelline-cpu:v1"
    assert not MessageToDict(tasks["pin_inputs"]).get("extendedResources", {}).get("gpuAccelerator")
    for task in tasks.values():
        variables = {variable.key: variable.value for variable in task.container.env}
        variables.pop("_F_SS_C", None)  # flytekit's own: the settings with which a dynamic task serializes its tasks
        assert variables == dict([STORE.split("=", 1)]) | SOURCES
        assert "fast" not in task.container.args[0]  # the code is in the image: nothing is fetched at start


def test_schedules_fixed_inputs_and_the_concurrency_policy_are_registered_as_declared(
    admin: Admin, register: Callable[..., Result]
) -> None:
    register()
    plans = {name: request.spec for name, request in named(admin.launch_plans).items()}
    assert plans["audit_daily"].entity_metadata.schedule.cron_schedule.schedule.endswith("30 4 * * *")
    assert plans["audit_daily"].concurrency_policy.max == 1
    assert plans["audit_daily"].concurrency_policy.behavior == launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP
    for name, plan in PLANS.items():
        sent = plans[name]
        assert sent.entity_metadata.schedule == (plan.schedule.to_flyte_idl() if plan.schedule else Schedule())
        assert set(sent.fixed_inputs.literals) == set(plan.fixed_inputs.literals)
        assert not set(sent.fixed_inputs.literals) & set(sent.default_inputs.parameters)
        assert sent.concurrency_policy.max == (plan.concurrency.max_concurrency if plan.concurrency else 0)
        assert sent.labels.values == (plan.labels.values if plan.labels else {})
    assert any("profile" in plan.fixed_inputs.literals for plan in plans.values())
    assert not plans["workflows.lifecycle.lifecycle"].fixed_inputs.literals


def test_every_task_references_the_credentials_and_contains_none(admin: Admin, register: Callable[..., Result]) -> None:
    register()
    usual = {("fuelline", secret.env_var, secret.env_var, "ENV_VAR") for secret in SECRETS}
    assert {name for _, name, _, _ in usual} >= {"FUELLINE_S3_SECRET_KEY", "FUELLINE_CATALOG"}
    tokens = {("fuelline", secret.env_var, secret.env_var, "ENV_VAR") for secret in TOKENS}
    broker = {("fuelline", "FUELLINE_RABBITMQ", "FUELLINE_RABBITMQ", "ENV_VAR")}
    for name, request in named(admin.tasks).items():
        secrets = MessageToDict(request.spec.template.security_context)["secrets"]
        more = tokens if name.startswith("tasks.collection.") else broker if name == "tasks.events.drain_due" else set()
        assert {(s["group"], s["key"], s["envVar"], s["mountRequirement"]) for s in secrets} == usual | more, name


def test_registering_the_same_version_again_does_nothing_and_reports_it(
    admin: Admin, register: Callable[..., Result]
) -> None:
    register()
    written = list(admin.writes)
    again = register()
    assert again.exit_code == 0
    assert "nothing to do, everything is registered with the same content" in again.output
    assert admin.writes == written


def test_other_content_under_the_same_version_is_refused_by_name_and_writes_nothing(
    admin: Admin, register: Callable[..., Result]
) -> None:
    register()
    written = list(admin.writes)
    refused = register("v1", **{"gpu-image": "registry.example/fuelline-gpu:other"})
    assert refused.exit_code == 1
    assert "version v1 is already registered with other content, so nothing was written" in refused.output
    assert "task tasks.training.train_adapter: its specification" in refused.output
    assert "pin_inputs" not in refused.output
    assert admin.writes == written


def test_other_code_under_the_same_version_is_refused_even_with_equal_specifications(
    admin: Admin, register: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    written = list(admin.writes)
    monkeypatch.setattr(launchplans.registration.bundle, "code_digest", lambda: "f" * 64)
    refused = register()
    assert refused.exit_code == 1
    assert refused.output.count("the code in its image") == len(everything(admin))
    assert "its specification" not in refused.output
    assert admin.writes == written


def test_a_version_that_another_tool_registered_is_refused(admin: Admin, register: Callable[..., Result]) -> None:
    register()
    del admin.tasks["agents", "production", "tasks.training.pin_inputs", "v1"].spec.template.metadata.tags[CODE]
    refused = register()
    assert refused.exit_code == 1
    assert "task tasks.training.pin_inputs: registered by something else" in refused.output


@pytest.mark.parametrize("writes", [0, 5, 24, 30, pytest.param(-1, id="but-one-schedule")])
def test_an_interrupted_registration_is_continued(admin: Admin, register: Callable[..., Result], writes: int) -> None:
    images = {f"{name}_image": Image(name, f"registry.example/{name}", "v1") for name in ("cpu", "gpu")}
    count = len(entities(Version(project="agents", domain="production", version="v1", **images)))
    admin.fail_at = writes = count + 1 if writes < 0 else writes
    broken = register()
    assert broken.exit_code == 1
    assert "does not answer: UNAVAILABLE, the database is away" in broken.output
    assert len(admin.active) == max(0, writes - count)
    admin.fail_at = -1
    done = register()
    assert done.exit_code == 0, done.output
    assert {key[2] for key in admin.active} == ACTIVE
    assert len(set(admin.writes)) == len(admin.writes) == count + len(ACTIVE)
    assert ("already registered: " in done.output) == (writes > 0)


def test_schedules_are_switched_last_from_one_version_to_another(admin: Admin, register: Callable[..., Result]) -> None:
    register("v1")
    assert {key[2:] for key in admin.active} == {(name, "v1") for name in ACTIVE}
    admin.fail_at = len(admin.writes) + 10
    register("v2")
    assert {key[3] for key in admin.active} == {"v1"}
    admin.fail_at = -1
    register("v2")
    assert {key[2:] for key in admin.active} == {(name, "v2") for name in ACTIVE}
    back = register("v1")
    assert "activated    audit_daily" in back.output
    assert {key[3] for key in admin.active} == {"v1"}


def test_a_schedule_that_the_new_version_lacks_is_deactivated_and_those_of_others_stay_active(
    admin: Admin, register: Callable[..., Result]
) -> None:
    register("v1")
    for name, ours in (("retrain_daily", True), ("somebody_elses", False)):
        gone = launch_plan_pb2.LaunchPlanCreateRequest()
        gone.CopyFrom(admin.launch_plans["agents", "production", "audit_daily", "v1"])
        gone.id.name = name
        if not ours:
            gone.spec.annotations.values.clear()
        admin.launch_plans["agents", "production", name, "v1"] = gone
        admin.active.add(("agents", "production", name, "v1"))
    done = register("v2")
    assert "deactivated  retrain_daily of v1" in done.output
    assert {key[2:] for key in admin.active} == {(name, "v2") for name in ACTIVE} | {("somebody_elses", "v1")}


def test_a_schedule_named_as_inactive_is_not_activated(admin: Admin, register: Callable[..., Result]) -> None:
    register("v1", "--inactive", "audit_daily")
    assert {key[2] for key in admin.active} == ACTIVE - {"audit_daily"}
    assert "nothing to do" in register("v1", "--inactive", "audit_daily").output
    assert "activated    audit_daily" in register("v1").output
    assert "deactivated  audit_daily of v1" in register("v1", "--inactive", "audit_daily").output
    assert "did you mean 'audit_daily'" in register("v1", "--inactive", "audit_dayly").output


def without(*names: str) -> list[str]:
    """The options of v1 without the variables of these sources."""
    kept = [word for name, value in SOURCES.items() if name not in names for word in ("--env", f"{name}={value}")]
    return [*kept, *options()[2 * len(SOURCES) :]]


def test_a_schedule_whose_source_no_setting_names_is_registered_and_says_what_it_needs(admin: Admin) -> None:
    where = ["--endpoint", admin.endpoint, "--insecure"]
    done = run("register", *without(*SOURCES), *where)
    assert done.exit_code == 0, done.output
    idle = {line.split()[2].rstrip(":"): line for line in done.output.splitlines() if line.startswith("not activated")}
    assert {key[2] for key in admin.active} == SCHEDULED - set(idle)
    assert set(idle) == {
        *("collect_metrics", "collect_logs", "collect_interactions", "collect_events", "collect_traces"),
        *("collect_workflow_runs", "collect_issues", "collect_audit_log", "drain_events"),
        *("ingest_hourly", "ingest_feedback_hourly", "ingest_predictions_hourly"),
    }
    assert idle["collect_metrics"] == "not activated  collect_metrics: FUELLINE_PROMETHEUS is not set"
    assert idle["ingest_hourly"].endswith("neither FUELLINE_LOGS nor FUELLINE_VLLM is set")
    assert {name for _, _, name, _ in admin.launch_plans} >= SCHEDULED
    again = run("register", *without("FUELLINE_LOKI"), *options("v2")[-10:], *where)
    assert "activated    collect_metrics" in again.output
    assert {key[2] for key in admin.active} == ACTIVE - {"collect_logs"}


def test_interactions_are_not_read_both_from_files_and_from_loki_unless_somebody_chooses_it(
    admin: Admin, register: Callable[..., Result]
) -> None:
    where = ["--endpoint", admin.endpoint, "--insecure"]
    assert "collect_interactions: FUELLINE_LOGS is set, which brings the same data" in register("v1").output
    run("register", *without("FUELLINE_LOGS"), *options("v2")[-10:], *where)
    assert {key[2] for key in admin.active} == (ACTIVE | {"collect_interactions"})
    register("v3", "--active", "collect_interactions", "--inactive", "ingest_hourly")
    assert {key[2] for key in admin.active} == (ACTIVE | {"collect_interactions"}) - {"ingest_hourly"}
    both = register("v3", "--active", "ingest_hourly", "--inactive", "ingest_hourly")
    assert (both.exit_code, "named by --active and by --inactive" in both.output) == (1, True)


def test_the_broker_is_a_secret_so_its_schedule_is_activated_by_name_or_where_it_is_set(
    admin: Admin, register: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "drain_events: FUELLINE_RABBITMQ is not set" in register("v1").output
    assert "activated    drain_events" in register("v1", "--active", "drain_events").output
    monkeypatch.setenv("FUELLINE_RABBITMQ", "amqp://fuelline:x@rabbitmq:5672/agents")
    assert "nothing to do" in register("v1").output


def test_a_dry_run_lists_what_it_would_do_and_writes_nothing(admin: Admin, register: Callable[..., Result]) -> None:
    listed = register("v1", "--dry-run")
    assert listed.exit_code == 0
    assert admin.writes == []
    assert "would register    task         tasks.training.train_adapter" in listed.output
    assert "would register    launch plan  retrain_on_schedule" in listed.output
    assert "would activate    audit_daily" in listed.output
    assert "to register" in listed.output


def test_the_package_contains_what_registration_sends(
    admin: Admin, register: Callable[..., Result], tmp_path: Path
) -> None:
    register()
    written = run("package", *options(), "--output", str(tmp_path / "dist" / "fuelline.tgz"))
    assert written.exit_code == 0, written.output
    types = {"1": task_pb2.TaskSpec, "2": workflow_pb2.WorkflowSpec, "3": launch_plan_pb2.LaunchPlan}
    packed: dict[str, list[Any]] = {end: [] for end in types}
    with tarfile.open(tmp_path / "dist" / "fuelline.tgz") as archive:
        names = archive.getnames()
        for name in names:
            file = archive.extractfile(name)
            assert file
            packed[name[-4]].append(types[name[-4]].FromString(file.read()))
    assert names == sorted(names)
    assert packed["1"] == [request.spec for request in admin.tasks.values()]
    assert packed["2"] == [request.spec for request in admin.workflows.values()]
    sent = [launch_plan_pb2.LaunchPlan(id=r.id, spec=r.spec) for r in admin.launch_plans.values()]
    assert [(plan.id, plan.spec) for plan in packed["3"]] == [(plan.id, plan.spec) for plan in sent]
    for name in ACTIVE:
        assert f"update launchplan -p agents -d production {name} --version v1 --activate" in written.output


def test_values_that_flytekit_keeps_in_a_set_are_sent_in_order(admin: Admin, register: Callable[..., Result]) -> None:
    register()
    upstream_nodes = [
        node["upstreamNodeIds"]
        for request in admin.workflows.values()
        for node in _nodes(MessageToDict(request.spec))
        if "upstreamNodeIds" in node
    ]
    assert max(map(len, upstream_nodes)) > 1
    assert upstream_nodes == [sorted(nodes) for nodes in upstream_nodes]


def test_the_digests_are_the_same_in_every_process() -> None:
    code = (
        "from flytekit.configuration import Image; from launchplans.registration.bundle import Version, entities\n"
        "v = Version(project='p', domain='d', version='v', cpu_image=Image('cpu', 'c', 't'),"
        " gpu_image=Image('gpu', 'g', 't'))\n"
        "print(*(f'{e.name} {e.marks}' for e in entities(v)), sep='\\n')"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    images = {f"{name}_image": Image(name, name[0], "t") for name in ("cpu", "gpu")}
    expected = entities(Version(project="p", domain="d", version="v", **images))
    assert ran.stdout.splitlines() == [f"{entity.name} {entity.marks}" for entity in expected]
    assert ran.stdout.count(SPEC) > 30


def test_the_digest_of_the_code_covers_everything_in_the_images(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.py"), ROOT / "pyproject.toml", ROOT / "constraints.txt", ROOT / "Dockerfile"):
        shutil.copy(path, tmp_path)
    seen = [code_digest(tmp_path)]
    assert seen == [code_digest()]
    for name in (
        "lake/store/objects.py",
        "workflows/retraining.py",
        "reports/templates/style.css",
        "reports/templates/page.html",
        "lake/sample/voices.yaml",
        "serving/rollout/traffic.sql",
        "settings.py",
        "hints.py",
        "constraints.txt",
        "Dockerfile",
    ):
        with (tmp_path / name).open("a") as file:
            file.write("# one more line\n")
        seen.append(code_digest(tmp_path))
    assert len(set(seen)) == len(seen)


def test_an_unavailable_server_is_reported_with_its_address() -> None:
    endpoint = unused_endpoint()
    failed = run("register", *options(), "--endpoint", endpoint, "--insecure")
    assert failed.exit_code == 1
    assert f"FlyteAdmin at {endpoint} does not answer: UNAVAILABLE" in failed.output


def test_an_unknown_project_or_domain_is_refused_with_the_nearest_name(
    admin: Admin, register: Callable[..., Result]
) -> None:
    assert "no project named 'agent'; did you mean 'agents'?" in register("v1", project="agent").output
    assert "no domain of project agents named 'produktion'" in register("v1", domain="produktion").output
    assert admin.writes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "v 1"}, "'v 1' is not a version"),
        ({"version": "4f0c2a7-dirty"}, "has uncommitted changes"),
        (
            {"cpu-image": "registry.example/fuelline-cpu"},
            "--cpu-image 'registry.example/fuelline-cpu' is not of the form",
        ),
        ({"env": "FUELLINE_STORE"}, "is not of the form NAME=VALUE"),
        ({"env": "FUELLINE_S3_SECRET_KEY=hush"}, "FUELLINE_S3_SECRET_KEY is a secret"),
    ],
)
def test_a_malformed_argument_is_refused_before_anything_is_sent(changes: dict[str, str], message: str) -> None:
    refused = run("register", *options(**changes), "--endpoint", unused_endpoint(), "--insecure")
    assert refused.exit_code == 1
    assert message in refused.output
    assert "hush" not in refused.output


def test_uncommitted_changes_are_registered_with_allow_dirty(register: Callable[..., Result]) -> None:
    assert register("4f0c2a7-dirty", "--allow-dirty").exit_code == 0


def test_make_register_and_make_package_run_the_command(
    admin: Admin, register: Callable[..., Result], tmp_path: Path
) -> None:
    commands = tmp_path / "venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").symlink_to("/bin/true")
    (commands / "fuelline").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from cli.main import main; main()" "$@"\n'
    )
    (commands / "fuelline").chmod(0o755)

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "ARGS"))}
        environment = ours | {"FLYTE_PLATFORM_URL": admin.endpoint, "FLYTE_PLATFORM_INSECURE": "true"}
        words = ["make", *arguments, f"VENV={commands.parent}"]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)

    sources = " ".join(f"{name}={value}" for name, value in SOURCES.items())
    what = ("REGISTRY=registry.example", "VERSION=v1", f"SETTINGS={sources} {STORE}")
    done = make("register", *what)
    assert done.returncode == 0, done.stderr
    assert {key[3] for key in everything(admin)} == {"v1"}
    [task, *_] = admin.tasks.values()
    assert [variable.key for variable in task.spec.template.container.env] == [*SOURCES, "FUELLINE_STORE"]
    assert "nothing to do" in register("v1").output
    packed = make("package", *what, f"PACKAGE={tmp_path / 'package.tgz'}")
    assert packed.returncode == 0, packed.stderr
    assert (tmp_path / "package.tgz").is_file()
    refused = make("register", "VERSION=v1")
    assert refused.returncode == 2
    assert "REGISTRY= is missing" in refused.stderr
