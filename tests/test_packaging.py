"""The package as others get it: imports against declarations, pins, and a wheel that knows the same experiments."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]

EXTRAS = ("arrow", "tensorboard", "wandb", "mlflow", "onnx", "ray")  # that `make test` installs, beside dev

# used without an import of their name, and what uses them
USED_BY_TEXT = {
    "onnx": '"onnx"',  # asked for by torch.onnx
    "onnxscript": '"onnxscript"',
    "scikit-image": '"skimage/data/',
    "scikit-learn": '"sklearn/datasets/',
    "tensorboard": "torch.utils.tensorboard",
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Distribution names of the core dependencies and of some extras."""
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {normalized(Requirement(line).name) for line in lines}


def pins() -> dict[str, str]:
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalized(name): version for name, version in pairs}


def imported() -> set[str]:
    """Distribution names of everything that the package and the ablations import, inside functions too."""
    modules: set[str] = set()
    for path in [*(CHECKOUT / "repro").rglob("*.py"), *(CHECKOUT / "ablations").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module)
    top = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"repro", "ablations"}
    distributions = metadata.packages_distributions()
    return {normalized(distributions.get(module, [module])[0]) for module in top}


def test_every_import_is_declared() -> None:
    assert imported() <= declared("ffcv", "cuda", *EXTRAS)


def test_every_declared_dependency_is_used() -> None:
    sources = "".join(path.read_text() for path in (CHECKOUT / "repro").rglob("*.py"))
    used = {name for name, text in USED_BY_TEXT.items() if text in sources}
    assert declared("ffcv", "cuda", *EXTRAS) <= imported() | used


def test_the_lock_pins_everything_with_what_is_installed() -> None:
    """Transitive dependencies too, each at the version that this environment has."""
    pinned = pins()
    wanted, seen = [normalized(name) for name in declared("dev", *EXTRAS)], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in pinned, f"constraints.txt does not pin {name}"
        assert metadata.version(name).partition("+")[0] == pinned[name]
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(normalized(requirement.name))
    assert len(seen) > len(declared("dev", *EXTRAS))
    assert pinned["ffcv"] == "1.0.2"


def test_make_installs_what_the_tests_need() -> None:
    asked = re.search(r"^EXTRAS = (.+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert asked and asked[1].split(",") == [*EXTRAS, "dev"]


def test_the_lock_meets_the_declared_bounds() -> None:
    pinned = pins()
    lines = PROJECT["dependencies"] + [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    for line in lines:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[normalized(requirement.name)]), line


def alternatives(pattern: str) -> list[str]:
    """A glob without braces for each choice in `{a,b}`."""
    found = re.search(r"{([^}]*)}", pattern)
    if not found:
        return [pattern]
    return [one for part in found[1].split(",") for one in alternatives(pattern.replace(found[0], part, 1))]


def desk_half() -> list[str]:
    """Every module of the package that pyproject.toml does not exempt from TID253."""
    ignored = TOOLS["ruff"]["lint"]["per-file-ignores"]
    exempt = [glob for pattern, rules in ignored.items() if "TID253" in rules for glob in alternatives(pattern)]
    files = [path.relative_to(CHECKOUT) for path in sorted((CHECKOUT / "repro").rglob("*.py"))]
    desk = [file for file in files if not any(fnmatch(str(file), glob) for glob in exempt)]
    return [".".join(file.with_suffix("").parts) for file in desk if file.name not in ("__init__.py", "__main__.py")]


def test_the_desk_half_does_not_import_torch() -> None:
    """The linter sees one file at a time; this sees what comes along with its imports."""
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "for name in sys.argv[1:]:\n"
        "    import_module(name)\n"
        "    heavy = [one for one in ('torch', 'torchvision', 'ffcv', 'numba') if one in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    modules = desk_half()
    assert "repro.commands.cli" in modules and "repro.training.train" not in modules
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_has_the_same_experiments_and_published_runs(tmp_path: Path) -> None:
    def run(*command: str, cwd: Path = tmp_path, path: str = "") -> str:
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python, elsewhere = sys.executable, str(tmp_path / "elsewhere")
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT))
    (wheel,) = tmp_path.glob("alexnet_repro-*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", elsewhere, str(wheel))
    where = run(python, "-c", "import repro; print(repro.__file__)", path=elsewhere)
    assert where.startswith(elsewhere)
    listed = [
        [
            {name: value for name, value in one.items() if name != "verdict"} for one in json.loads(out)
        ]  # of a report here
        for out in (
            run(python, "-m", "repro", "list", "--json", path=elsewhere),
            run(python, "-m", "repro", "list", "--json", cwd=CHECKOUT),
        )
    ]
    assert listed[0] and listed[0] == listed[1]
    run(python, "-m", "repro", "report", "dropout-ablation", "--published", path=elsewhere)
    made, ours = (folder / "reports/dropout-ablation.md" for folder in (tmp_path, CHECKOUT))
    assert made.read_bytes() == ours.read_bytes(), "the published runs came along, and say the same"
    assert not list(tmp_path.glob("elsewhere/repro/published/.*")), "nothing was written beside them"


def test_the_version_is_stated_once() -> None:
    import repro

    assert metadata.version("alexnet-repro") == repro.__version__
    assert "version" in PROJECT["dynamic"]
    assert f"\nversion: {repro.__version__}\n" in (CHECKOUT / "CITATION.cff").read_text()


def test_ci_runs_on_every_python_that_is_promised() -> None:
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    (matrix,) = re.findall(r"^ *python: \[(.*?)\]", (CHECKOUT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert re.findall(r"3\.\d+", matrix) == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml"],
        ["check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff"],
    ],
    ids=lambda command: command[-1],
)
def test_files_for_other_programs_are_as_those_want_them(command: list[str]) -> None:
    beside = Path(sys.executable).parent
    done = subprocess.run([beside / command[0], *command[1:]], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_what_its_first_layers_need() -> None:
    """The packages are installed before the checkout is copied: by files that are there by then, from the same folder
    that the container of an editor opens."""
    copied = " ".join(
        re.findall(r"^COPY --chown=repro:repro (.*) \S+$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    )
    needed = {
        PROJECT["readme"],
        *PROJECT["license-files"],
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "scripts",
        "repro",
    }
    assert needed <= set(copied.split())
    container = json.loads((CHECKOUT / ".devcontainer/devcontainer.json").read_text())
    assert (CHECKOUT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == CHECKOUT / "Dockerfile"


FAKE_PYTHON = """#!/usr/bin/env bash
# stands for python and pip in scripts/setup.sh: notes what pip was asked for, and installs nothing
here=$(readlink -f "$0")
case "$*" in
*sys.base_prefix*) echo "3.11.0 /usr" ;;
"-m venv"*) rm -rf .venv; mkdir -p .venv/bin; cp "$here" .venv/bin/python; cp "$here" .venv/bin/pip ;;
install*) echo "$*" >>asked ;;
esac
"""


def test_setup_installs_what_was_asked_for_and_only_once(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    shutil.copytree(CHECKOUT / "scripts", place / "scripts")
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, place)
    fake = tmp_path / "python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    asked = place / "asked"

    def setup(*extras: str, **environment: str) -> list[str]:
        """What pip was asked to install."""
        asked.write_text("")
        plain = {name: value for name, value in os.environ.items() if name != "TORCH"}
        call = ["bash", str(place / "scripts/setup.sh"), *extras]
        done = subprocess.run(call, env=plain | {"PYTHON": str(fake)} | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [" ".join(line.split(" -c constraints.txt ")[1:]) for line in asked.read_text().splitlines()]

    core = ["hatchling setuptools", "--no-build-isolation -e ."]
    assert setup() == core
    assert setup() == []
    assert setup("arrow,dev") == ["--no-build-isolation -e .[arrow,dev]"]
    assert setup("arrow,dev") == []
    torch = "--extra-index-url https://download.pytorch.org/whl/cpu torch torchvision"
    assert setup(TORCH="cpu") == [core[0], torch, core[1]]
    assert setup() == []  # it keeps its build of torch
    (place / "constraints.txt").write_text("# other pins\n")
    assert setup() == [core[0], torch, core[1]]
    assert setup(TORCH="pypi") == core
    with pytest.raises(AssertionError, match="TORCH=rocm: no such build"):
        setup(TORCH="rocm")
