"""The manifests of deploy/kubernetes: what Kubernetes' own schema says of them, and what the command says of theirs."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from repro.commands import cli

FOLDER = Path(__file__).parents[1] / "deploy/kubernetes"
VERSION = "1.34"
# Of KubeRay's ray.io/v1, the fields that we use, with their types: the schema of a resource that Kubernetes has not.
RAY_JOB: dict[str, Any] = {
    "entrypoint": str,
    "submissionMode": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "rayClusterSpec": dict,
}
CLUSTER: dict[str, Any] = {"rayVersion": str, "headGroupSpec": dict, "workerGroupSpecs": list}
HEAD: dict[str, Any] = {"rayStartParams": dict, "template": dict}
WORKERS: dict[str, Any] = HEAD | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


def manifest(name: str) -> dict[str, Any]:
    (found,) = yaml.safe_load_all((FOLDER / name).read_text())
    return dict(found)


def check_command(words: list[str]) -> None:
    """Reads the words as the command line does, and does nothing."""
    program, name, *others = words
    assert program == "repro"
    command = typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, others):
        pass


def has(found: dict[str, Any], fields: dict[str, Any]) -> None:
    assert {name: type(value) for name, value in found.items()} == fields


def test_the_indexed_job_is_one_and_its_workers_understand_their_words() -> None:
    job = manifest("indexed-job.yaml")
    kubernetes_validate.validate(job, VERSION, strict=True)
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][:2] == ["repro", "work"]
    check_command(container["command"])


def test_a_field_that_is_none_is_refused() -> None:
    """Of the job, and of a pod in it: the schema is strict at each depth."""
    for path in (("spec",), ("spec", "template", "spec"), ("spec", "podFailurePolicy")):
        job = copy.deepcopy(manifest("indexed-job.yaml"))
        inner = job
        for name in path:
            inner = inner[name]
        inner["paralelism"] = 8
        with pytest.raises(kubernetes_validate.ValidationError, match="paralelism"):
            kubernetes_validate.validate(job, VERSION, strict=True)


def test_the_ray_job_is_one_and_its_pods_are_pods() -> None:
    job = manifest("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    has(job["spec"], RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    has(cluster, CLUSTER)
    has(cluster["headGroupSpec"], HEAD)
    for group in cluster["workerGroupSpecs"]:
        has(group, WORKERS)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, VERSION, strict=True)
    pins = (FOLDER.parents[1] / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    check_command(shlex.split(job["spec"]["entrypoint"]))


def test_both_write_to_one_disk_that_is_mounted_where_their_words_say() -> None:
    pods = [manifest("indexed-job.yaml")["spec"]["template"]["spec"]]
    cluster = manifest("rayjob.yaml")["spec"]["rayClusterSpec"]
    pods += [one["template"]["spec"] for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    for pod in pods:
        (volume,), (container,) = pod["volumes"], pod["containers"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/repro"}]
        assert volume["persistentVolumeClaim"] == {"claimName": "repro"}
    words = [*manifest("indexed-job.yaml")["spec"]["template"]["spec"]["containers"][0]["command"],
             *shlex.split(manifest("rayjob.yaml")["spec"]["entrypoint"])]  # fmt: skip
    folders = [word for word in words if "-dir=" in word]
    assert len(folders) == 5 and all("=/repro/" in word for word in folders)
