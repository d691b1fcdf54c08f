"""What can be said of the images without building one: their Dockerfiles, locks and what reaches the builder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = ("llama", "slim", "torch")
FAMILY_OF_SERVICE = {
    "controller": "slim",
    "dataset_builder": "slim",
    "evaluator": "slim",
    "exporter": "torch",
    "optimizer": "slim",
    "scorer": "slim",
    "student_inference": "llama",
    "teacher_generator": "slim",
    "trainer": "torch",
    "vertex_emulator": "slim",
}


def instructions(family: str) -> list[str]:
    """The Dockerfile's instructions, comments left out and continued lines joined."""
    text = (ROOT / "docker" / f"{family}.Dockerfile").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line for line in re.sub(r"\\\n\s*", " ", lines).splitlines() if line.strip()]


def final_stage(family: str) -> list[str]:
    lines = instructions(family)
    return lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]


def requirements(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def test_there_is_one_dockerfile_a_family() -> None:
    assert sorted(path.name for path in (ROOT / "docker").iterdir()) == [f"{name}.Dockerfile" for name in FAMILIES]


def test_every_service_has_a_family() -> None:
    services = {path.parent.name for path in (ROOT / "services" / "stillhouse").glob("*/__main__.py")} - {"cli"}
    assert services == set(FAMILY_OF_SERVICE)
    assert set(FAMILY_OF_SERVICE.values()) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_runs_as_a_numbered_user_without_an_entry_point(family: str) -> None:
    lines = final_stage(family)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65532:65532"]
    assert not [line for line in lines if line.startswith("ENTRYPOINT")]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_runs_in_the_final_stage_so_that_no_builder_leaves_a_trace(family: str) -> None:
    assert not [line for line in final_stage(family) if line.startswith("RUN ")]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_source_is_the_last_layer(family: str) -> None:
    copies = [line for line in final_stage(family) if line.startswith("COPY ")]
    assert copies[-1] == "COPY --from=source /opt/app /opt/venv"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_labelled_and_writes_below_tmp_only(family: str) -> None:
    text = "\n".join(final_stage(family))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text
    assert re.search(r"\bHOME=/tmp\b", text)
    assert "PYTHONDONTWRITEBYTECODE=1" in text
    assert f"STILLHOUSE_CACHE={'/opt/stillhouse' if family == 'torch' else '/tmp/stillhouse'}" in text


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("docker/*"), *ROOT.glob("requirements/*.txt")]), ids=lambda p: p.name
)
def test_no_index_address_is_written_down(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|-f|--find-links)\b", text, re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_installed_is_pinned_by_a_lock_that_is_there(family: str) -> None:
    text = "\n".join(instructions(family))
    named = set(re.findall(r"requirements/([a-z-]+)\.txt", text))
    assert {"uv", "build", family} <= named
    for name in named:
        assert requirements(name)


def test_the_images_versions_are_those_that_are_tested() -> None:
    tested = requirements("dev")
    for name in (*FAMILIES, "torch-cuda", "llama-cuda"):
        assert not {p: v for p, v in requirements(name).items() if p in tested and tested[p] != v}


def test_torch_and_llama_are_only_where_they_are_needed() -> None:
    assert not {"torch", "transformers", "xllamacpp"} & set(requirements("slim"))
    assert "torch" not in requirements("llama")
    assert {"kopf", "kubernetes", "litellm", "google-cloud-aiplatform", "aiohttp"} <= set(requirements("slim"))
    assert {"torch", "xllamacpp", "peft"} <= set(requirements("torch"))


def test_the_cpu_locks_have_nothing_of_cuda() -> None:
    for name in FAMILIES:
        assert not [project for project in requirements(name) if project.startswith(("nvidia-", "triton", "cuda-"))]


def test_the_locks_come_from_extras_of_the_same_name() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(FAMILIES) <= set(extras)
    script = (ROOT / "scripts" / "lock.sh").read_text("utf-8")
    for family in FAMILIES:
        assert f"compile {family} --extra {family}" in script


def test_the_cache_of_bases_and_converter_is_filled_by_the_files_its_stage_copies(tmp_path: Path) -> None:
    """Other files would make every change of source fetch and convert anew; missing ones would fail the build."""
    lines = instructions("torch")
    start = next(index for index, line in enumerate(lines) if line.endswith(" AS cache"))
    package = tmp_path / "stillhouse"
    for line in lines[start + 1 :]:
        if line.startswith("FROM "):
            break
        if not line.startswith("COPY "):
            continue
        *sources, target = line.split()[1:]
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, package / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (package / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(source, package / target)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import stillhouse.trainer.prefetch, stillhouse.exporter.converter as c; print(c.__file__)",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
    for data in ("trainer/base-model.txt", "exporter/converter-requirements.txt", "rpc/tethered.py"):
        assert (package / data).is_file()
