"""The installation's settings: what is wrong is said with the file and the path in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stillhouse.controller.cluster.settings import Settings, read_settings
from stillhouse.errors import InvalidArgument, NotFound

Json = dict[str, Any]
LEAST: Json = {
    "namespaces": ["team"],
    "images": {"slim": "s", "torch": "t", "llama": "l"},
    "serviceAccounts": {"teacher": "teacher", "stage": "stage"},
}


def read(path: Path, text: str | bytes) -> Settings:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings({"STILLHOUSE_SETTINGS": str(path)})


def test_the_least_that_can_be_said_is_enough(tmp_path: Path) -> None:
    settings = read(tmp_path / "settings.yaml", yaml.safe_dump(LEAST))
    assert (settings.image_pull_policy, settings.jobs_per_distillation, settings.store) == ("IfNotPresent", 1, "")


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("trainer", "t"),
        ("exporter", "t"),
        ("student_inference", "l"),
        *[(name, "s") for name in ("teacher_generator", "dataset_builder", "scorer", "evaluator", "optimizer")],
    ],
)
def test_every_service_has_the_image_of_its_family(service: str, image: str) -> None:
    assert Settings.model_validate(LEAST).image_of(service) == image


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": None}, "namespaces"),
        ({"images": {"slim": "s", "torch": "t"}}, "images.llama"),
        ({"images": {**LEAST["images"], "cuda": "c"}}, "images.cuda"),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy"),
        ({"serviceAccounts": {"stage": "stage"}}, "serviceAccounts.teacher"),
        ({"env": {"A": "b"}}, "env"),
        ({"teacherVolumes": [{"name": "key", "mountPath": "/x"}]}, "teacherVolumes.0.secretName"),
        ({"resources": {"train": {"limits": {"cpu": "many"}}}}, "resources.train.limits.cpu"),
        ({"resources": {"train": {"podPatch": "- a"}}}, "resources.train.podPatch"),
        ({"resources": {"training": {"limits": {"cpu": "1"}}}}, "resources.training"),
        ({"jobsPerDistillation": 0}, "jobsPerDistillation"),
        ({"resyncSeconds": 0}, "resyncSeconds"),
        ({"resyncSeconds": float("inf")}, "resyncSeconds"),
        ({"resyncSeconds": float("nan")}, "resyncSeconds"),
        ({"stores": "s3://x"}, "stores"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_path(tmp_path: Path, change: Json, path: str) -> None:
    file = tmp_path / "settings.yaml"
    with pytest.raises(InvalidArgument) as raised:
        read(file, yaml.safe_dump(LEAST | change))
    assert str(file) in raised.value.message
    assert path in raised.value.message


@pytest.mark.parametrize("text", ["", "- a", "a: [", b"\xff\xfe\xff", "day: 2030-13-45", "[" * 3000, "5"])
def test_a_file_that_is_no_mapping_is_refused_by_its_name(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "settings.yaml"
    with pytest.raises(InvalidArgument, match=r"settings\.yaml"):
        read(file, text)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"namespaces.*; .*images"):
        read(tmp_path / "settings.yaml", "serviceAccounts: {teacher: a, stage: b}")


def test_no_file_is_named_and_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    for environ in ({}, {"STILLHOUSE_SETTINGS": ""}):
        with pytest.raises(InvalidArgument, match="STILLHOUSE_SETTINGS names no file"):
            read_settings(environ)
    for missing in (tmp_path / "no.yaml", tmp_path):
        with pytest.raises(NotFound, match=rf"STILLHOUSE_SETTINGS: {missing} can't be read: .*name the chart's"):
            read_settings({"STILLHOUSE_SETTINGS": str(missing)})
