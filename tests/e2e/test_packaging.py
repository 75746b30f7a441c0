"""An installed package works from any folder, without its checkout; and the command that it brings."""

import os
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from benchmark_file import write_benchmark
from running import CHECKOUT, Outcome, run_python

PARTS = ["editbench", "conf", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip would install it, built from a copy: building leaves files beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        copy = shutil.copytree if (CHECKOUT / part).is_dir() else shutil.copy2
        copy(CHECKOUT / part, source / part)
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    built = run_python(["-c", code], source)
    assert built.code == 0, built.tail
    (path,) = source.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a repository of somebody else's, with the unpacked wheel in its folder `site`."""
    root = tmp_path_factory.mktemp("theirs")
    zipfile.ZipFile(wheel).extractall(root / "site")
    write_benchmark(root / "bench.json", ["物理", "环境"])
    (root / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "pyproject.toml"], [*identity, "commit", "-qm", "theirs"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def use(installed: Path, *arguments: str) -> Outcome:
    return run_python(["-m", *arguments], installed, PYTHONPATH=str(installed / "site"))


def test_the_wheel_holds_every_module_every_yaml_every_template_and_the_licence(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(CHECKOUT)
        for path in (CHECKOUT / "editbench").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {Path("editbench") / path.relative_to(CHECKOUT) for path in (CHECKOUT / "conf").rglob("*.yaml")}
    assert {str(path) for path in wanted} - held == set()
    assert [name for name in held if name.endswith("licenses/LICENSE")]
    metadata = next(name for name in held if name.endswith("METADATA"))
    assert b"License-Expression: Apache-2.0" in zipfile.ZipFile(wheel).read(metadata)


def test_an_installed_package_plans_and_edits_from_another_folder(installed: Path) -> None:
    run = ["editor=fake", "judge=fake", "dataset.path=bench.json", "run_dir=run"]
    for command in (["editbench.edit"], ["editbench", "score"], ["editbench", "report"]):
        outcome = use(installed, *command, *run)
        assert outcome.code == 0, outcome.tail
    report = (installed / "run" / "report.json").read_text()
    assert '"git_commit": null' in report, "the commit of somebody else's repository"


def test_an_installed_package_says_that_the_demo_is_in_the_checkout(installed: Path) -> None:
    outcome = use(installed, "editbench.plan")
    assert outcome.code == 2, outcome.tail
    assert "dataset.path: data/scenes/scenes.json is in a checkout of editbench alone" in outcome.errors[0]


def test_an_installed_package_names_the_choices(installed: Path) -> None:
    outcome = use(installed, "editbench", "edit", "--help")
    assert outcome.code == 0 and outcome.output.startswith("usage: editbench edit"), outcome.tail
    assert "editor: diffusers, fake, flux2" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "usage: editbench COMMAND"),
        (["--help"], 0, "report   phase 3: statistics and reports"),
        (["--version"], 0, "0.1.0\n"),
        (["scor"], 2, "error: there is no command 'scor', did you mean score?"),
        (["run_name=x"], 2, "error: there is no command 'run_name=x'\n"),
        (["verify", "run_dir=nowhere"], 2, "nowhere: there is no run here"),
    ],
)
def test_the_command_names_its_commands(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    outcome = run_python(["-m", "editbench", *arguments], tmp_path)
    assert outcome.code == code, outcome.tail
    assert says in outcome.output


def test_the_packages_that_are_named_are_those_that_there_are() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    found = {path.parent.relative_to(CHECKOUT) for path in (CHECKOUT / "editbench").rglob("__init__.py")}
    named = set(project["tool"]["setuptools"]["packages"])
    assert named == {str(path).replace(os.sep, ".") for path in found} | {"editbench.conf"}
    assert project["project"]["scripts"] == {"editbench": "editbench.__main__:main"}
