"""The shell scripts, run for real in a copy of the checkout, with stubs in place of Python, srun and nvidia-smi."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SHELL_SCRIPTS = [
    "launch.sh",
    "scripts/set_up.sh",
    "scripts/check.sh",
    "scripts/test.sh",
    "scripts/slurm/run.sbatch",
    ".ci/run",
]

# An interpreter that writes down what it is asked to run (with tabs between arguments) and runs only the check of
# the environment and the count of GPUs. FAIL=<word>:<code> makes the command fail that has the word among its
# arguments.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    *check_environment.py*) exec "$REAL_PYTHON" "$@" ;;
    *editbench.distributed.devices*) PYTHONPATH=$REAL_CHECKOUT exec "$REAL_PYTHON" "$@" ;;
    *"import ensurepip"*) exit 0 ;;
esac
{ printf '%s\\t' "$@"; echo; } >>"$RECORD"
case "$*" in
    *make_tiny_checkpoints.py*) mkdir -p "$2/editor" ;;
    *pack_benchmark.py*) echo '[]' >"$3" ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *" $HANG "*) echo $$ >"$FIFO"; exec sleep 60 ;;
esac
printf '%s\\n' "$PWD" "$PYTHONPATH" "${WORLD_SIZE-}" >"$RECORD.last"
if [ -n "${FAIL-}" ]; then
    case " $* " in *" ${FAIL%:*} "*) echo "the stub fails"; exit "${FAIL#*:}" ;; esac
fi
"""


@dataclass
class Copy:
    """A copy of the scripts in a folder with a space in its path, and a world of stubs around it."""

    root: Path
    bin: Path
    venv: Path
    env: dict[str, str]

    def run(self, script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / script), *arguments],
            cwd=self.root.parent,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def commands(self) -> list[list[str]]:
        """What was run since the last call."""
        record = Path(self.env["RECORD"])
        lines = record.read_text().splitlines() if record.exists() else []
        record.unlink(missing_ok=True)
        return [line.split("\t")[:-1] for line in lines]

    def stub(self, name: str, text: str) -> None:
        write_script(self.bin / name, f"#!/usr/bin/env bash\n{text}\n")


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy whose set-up is complete, with a virtual environment active that has the dependencies."""
    root = tmp_path / "check out"
    for name in [*SHELL_SCRIPTS, "scripts/check_environment.py", "pyproject.toml", "constraints.txt"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, root / name)
    records = [f"data/{name}/records.json" for name in ("demo", "scenes")]
    for name in ["scripts/make_tiny_checkpoints.py", "scripts/pack_benchmark.py", *records]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "data/demo/photos").mkdir()
    (root / "conf/editor").mkdir(parents=True)
    (root / "conf/editor/fake.yaml").touch()
    venv = tmp_path / "my env"
    write_script(venv / "bin/python", PYTHON)
    stubs = tmp_path / "bin"
    write_script(stubs / "python3", PYTHON)
    copy = Copy(
        root,
        stubs,
        venv,
        {
            "PATH": f"{stubs}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(venv),
            "REAL_PYTHON": sys.executable,
            "REAL_CHECKOUT": str(CHECKOUT),
            "RECORD": str(tmp_path / "record"),
            "HANG": "nothing",
        },
    )
    copy.stub("nvidia-smi", "echo no driver; exit 9")
    assert copy.run("scripts/set_up.sh").returncode == 0
    copy.commands()
    return copy


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def processes(commands: list[list[str]]) -> set[str]:
    return {word for command in commands for word in command if word.startswith("--nproc_per_node=")}


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_scripts_parse_and_can_be_executed(script: str) -> None:
    assert os.access(CHECKOUT / script, os.X_OK)
    checked = subprocess.run(["bash", "-n", CHECKOUT / script], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_launch_runs_the_phases_in_order_with_the_overrides_as_given(copy: Copy) -> None:
    overrides = ["run_name=my run", "dataset.path=图 1.json"]
    result = copy.run("launch.sh", *overrides)
    assert result.returncode == 0, result.stderr
    plan, edit, score, report = copy.commands()
    assert plan == ["-m", "editbench.plan", *overrides]
    assert report == ["-m", "editbench.report", *overrides]
    for command, phase in ((edit, "edit"), (score, "score")):
        assert command[0] == str(copy.root / "scripts/torchrun.py")
        assert command[-4:] == ["-m", f"editbench.{phase}", *overrides]
        assert {"--standalone", "--nproc_per_node=2"} <= set(command)
    cwd, python_path, _ = Path(f"{copy.env['RECORD']}.last").read_text().splitlines()
    assert Path(cwd) == copy.root.parent  # paths among the overrides are relative to it
    assert python_path == str(copy.root)


FOUR_GPUS = 'for i in 0 1 2 3; do echo "GPU $i: NVIDIA H100 (UUID: GPU-$i)"; done'


@pytest.mark.parametrize(
    ("gpus", "env", "overrides", "expected"),
    [
        (FOUR_GPUS, {}, [], 4),
        (FOUR_GPUS, {"NPROC_PER_NODE": "6"}, [], 6),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "0,2,3"}, [], 3),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "GPU-1"}, [], 1),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "0,-1,2"}, [], 1),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "0,4,2"}, [], 1),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": ""}, [], 2),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "-1"}, ["device_ids=[0]"], 2),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, [], 2),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "0,1,2"}, ["device_ids=[0, 2]"], 2),
        (FOUR_GPUS, {}, ["device_ids=[3]"], 1),
        (FOUR_GPUS, {}, ["device_ids=null"], 4),
        ("echo no driver; exit 9", {}, [], 2),
        ("echo no driver; exit 9", {"NPROC_PER_NODE": "1"}, [], 1),
    ],
)
def test_launch_starts_a_process_per_gpu_or_as_many_as_asked(
    copy: Copy, gpus: str, env: dict[str, str], overrides: list[str], expected: int
) -> None:
    copy.stub("nvidia-smi", gpus)
    assert copy.run("launch.sh", *overrides, **env).returncode == 0
    assert processes(copy.commands()) == {f"--nproc_per_node={expected}"}


@pytest.mark.parametrize("number", ["0", "-1", "two", "2.5"])
def test_launch_refuses_a_number_of_processes_that_is_none(copy: Copy, number: str) -> None:
    result = copy.run("launch.sh", NPROC_PER_NODE=number)
    assert result.returncode != 0
    assert f"NPROC_PER_NODE={number}" in result.stderr
    assert copy.commands() == []


@pytest.mark.parametrize(("phase", "started"), [("plan", 1), ("edit", 2), ("score", 3), ("report", 4)])
def test_launch_ends_with_the_exit_code_of_the_phase_that_fails(copy: Copy, phase: str, started: int) -> None:
    result = copy.run("launch.sh", FAIL=f"editbench.{phase}:75")
    assert result.returncode == 75
    assert len(copy.commands()) == started


@pytest.mark.parametrize("override", ["dry_run=true", "dry_run=True"])
def test_a_dry_run_starts_one_process_per_phase_that_knows_the_number_of_ranks(copy: Copy, override: str) -> None:
    assert copy.run("launch.sh", override, NPROC_PER_NODE="3").returncode == 0
    assert copy.commands() == [["-m", f"editbench.{phase}", override] for phase in ("edit", "score", "report")]
    assert Path(f"{copy.env['RECORD']}.last").read_text().splitlines()[2] == "3"


def test_the_last_of_several_dry_runs_counts(copy: Copy) -> None:
    assert copy.run("launch.sh", "dry_run=true", "dry_run=false").returncode == 0
    assert len(copy.commands()) == 4


def test_help_names_the_choices_and_starts_nothing(copy: Copy) -> None:
    result = copy.run("launch.sh", "--help", VIRTUAL_ENV="")
    assert result.returncode == 0
    assert "editor: fake" in result.stdout
    assert copy.commands() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_launch_and_its_phase(copy: Copy, tmp_path: Path, number: signal.Signals, code: int) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    env = copy.env | {"HANG": "editbench.edit", "FIFO": str(fifo)}
    launch = subprocess.Popen(
        [copy.root / "launch.sh", "a=b"],
        env=env,
        start_new_session=True,
        # whoever started the tests in the background, or under nohup, had this signal ignored: a shell cannot undo that
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    child = int(fifo.read_text())
    os.killpg(launch.pid, number)  # as a terminal does
    assert launch.wait(timeout=20) == code
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_an_active_conda_environment_is_used(copy: Copy) -> None:
    result = copy.run("scripts/set_up.sh", VIRTUAL_ENV="", CONDA_PREFIX=str(copy.venv))
    assert (result.stdout, result.stderr) == (f"{copy.venv}/bin/python\n", "")


def test_an_active_environment_without_the_dependencies_is_not_used(copy: Copy) -> None:
    pyproject = copy.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("torch>=", 'no-such-package>=1", "torch>='))
    result = copy.run("scripts/set_up.sh")
    assert result.stdout == f"{copy.root}/.venv/bin/python\n"
    assert f"{copy.venv} lacks no-such-package>=1; using" in result.stderr
    venv, pip = copy.commands()
    assert venv == ["-m", "venv", str(copy.root / ".venv")]
    assert pip[:3] == ["-m", "pip", "install"]
    assert pip[-4:] == ["-c", "constraints.txt", "-e", ".[dev]"]


def test_an_installed_venv_is_kept_until_what_it_was_made_from_changes(copy: Copy) -> None:
    assert copy.run("scripts/set_up.sh", VIRTUAL_ENV="").returncode == 0
    assert len(copy.commands()) == 2
    again = copy.run("scripts/set_up.sh", VIRTUAL_ENV="")
    assert (again.returncode, again.stderr, copy.commands()) == (0, "", [])
    with (copy.root / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert copy.run("scripts/set_up.sh", VIRTUAL_ENV="").returncode == 0
    assert [command[:2] for command in copy.commands()] == [["-m", "pip"]]


def test_a_failed_installation_is_shown_and_tried_again(copy: Copy) -> None:
    failed = copy.run("launch.sh", VIRTUAL_ENV="", FAIL="pip:1")
    assert failed.returncode == 1
    assert "the stub fails" in failed.stderr
    assert len(copy.commands()) == 2  # and no phase
    assert copy.run("launch.sh", VIRTUAL_ENV="").returncode == 0
    assert copy.commands()[0][:2] == ["-m", "pip"]


def test_a_venv_whose_installation_was_killed_is_made_anew(copy: Copy) -> None:
    write_script(copy.root / ".venv/bin/python", PYTHON)
    (copy.root / ".venv/editbench-stamp").write_text("installing\n")
    (copy.root / ".venv/remains").touch()
    assert copy.run("scripts/set_up.sh", VIRTUAL_ENV="").returncode == 0
    assert [command[1] for command in copy.commands()] == ["venv", "pip"]
    assert not (copy.root / ".venv/remains").exists()


def test_without_a_python_that_is_new_enough_one_sentence_says_so(copy: Copy) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        copy.stub(name, "exit 1")
    result = copy.run("launch.sh", VIRTUAL_ENV="")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "Python 3.11 or newer" in result.stderr


def test_checkpoints_and_demo_are_made_again_when_they_are_missing_or_outdated(copy: Copy) -> None:
    (copy.root / "scripts/make_tiny_checkpoints.py").write_text("changed")
    (copy.root / "data/demo/demo.json").unlink()
    assert copy.run("scripts/set_up.sh").returncode == 0
    assert [Path(command[0]).name for command in copy.commands()] == ["make_tiny_checkpoints.py", "pack_benchmark.py"]
    shutil.rmtree(copy.root / "checkpoints/tiny/editor")
    photo = copy.root / "data/demo/photos/new.jpg"
    photo.touch()
    os.utime(copy.root / "data/demo/demo.json", (0, 0))
    assert copy.run("scripts/set_up.sh").returncode == 0
    assert len(copy.commands()) == 2
    assert copy.run("scripts/set_up.sh").stderr == ""


PYTEST = ["-m", "pytest", "-m", "not slow", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]


def test_the_test_command_leaves_slow_tests_out_and_passes_arguments_on(copy: Copy) -> None:
    result = copy.run("scripts/test.sh", "tests/unit", "-k", "a or b", FAIL="pytest:5")
    assert result.returncode == 5
    assert copy.commands() == [[*PYTEST, "tests/unit", "-k", "a or b"]]
    assert Path(f"{copy.env['RECORD']}.last").read_text().splitlines()[0] == str(copy.root)


def test_ci_checks_lint_format_types_and_tests(copy: Copy) -> None:
    assert copy.run(".ci/run").returncode == 0
    assert copy.commands() == [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        PYTEST,
    ]
    assert copy.run(".ci/run", FAIL="mypy:1").returncode == 1


@pytest.fixture
def in_job(copy: Copy) -> dict[str, str]:
    """The environment of job 123 on two nodes; srun runs its command as the second of them."""
    copy.stub(
        "scontrol", 'case "$2" in hostnames) echo n1; echo n2 ;; *) echo "NodeName=n1 NodeAddr=10.0.0.1 X=1" ;; esac'
    )
    copy.stub("srun", 'while [ "$1" != bash ]; do shift; done; SLURM_NODEID=1 "$@"')
    return {
        "SLURM_SUBMIT_DIR": str(copy.root),
        "SLURM_JOB_ID": "123",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "n",
    }


def test_a_slurm_job_runs_the_phases_with_a_rendezvous_of_their_own(copy: Copy, in_job: dict[str, str]) -> None:
    result = copy.run("scripts/slurm/run.sbatch", "run_name=my run", **in_job)
    assert result.returncode == 0, result.stderr
    plan, edit, score, report = copy.commands()
    assert (plan, report) == (
        ["-m", "editbench.plan", "run_name=my run"],
        ["-m", "editbench.report", "run_name=my run"],
    )
    assert {"--nnodes=2", "--nproc_per_node=2", "--rdzv-backend=c10d", "--rdzv-conf=is_host=false"} <= set(edit)
    assert {"--rdzv-endpoint=10.0.0.1:10246", "--rdzv-id=123-edit"} <= set(edit)
    assert {"--rdzv-endpoint=10.0.0.1:10247", "--rdzv-id=123-score"} <= set(score)
    assert edit[-3:] == ["-m", "editbench.edit", "run_name=my run"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "32"}, 8),
        ({"SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"SLURM_GPUS_ON_NODE": "8", "NPROC_PER_NODE": "4"}, 4),
    ],
)
def test_a_slurm_job_takes_the_number_of_processes_from_the_allocation(
    copy: Copy, in_job: dict[str, str], env: dict[str, str], expected: int
) -> None:
    assert copy.run("scripts/slurm/run.sbatch", **in_job, **env).returncode == 0
    assert processes(copy.commands()) == {f"--nproc_per_node={expected}"}


def test_a_slurm_job_ends_with_the_code_of_the_phase_that_fails(copy: Copy, in_job: dict[str, str]) -> None:
    assert copy.run("scripts/slurm/run.sbatch", FAIL="editbench.edit:75", **in_job).returncode == 75
    assert len(copy.commands()) == 2


def test_a_slurm_job_says_what_is_missing(copy: Copy, in_job: dict[str, str]) -> None:
    no_environment = copy.run("scripts/slurm/run.sbatch", **(in_job | {"VIRTUAL_ENV": ""}))
    elsewhere = copy.run("scripts/slurm/run.sbatch", **(in_job | {"SLURM_SUBMIT_DIR": "/"}))
    for result, what in ((no_environment, "scripts/set_up.sh"), (elsewhere, "submit from the checkout")):
        assert result.returncode != 0
        assert what in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert copy.commands() == []


@pytest.mark.parametrize(
    ("dependencies", "extras", "missing"),
    [
        (["pytest"], [], ""),
        (["pytest>=999"], [], "pytest>=999 (has "),
        (["no-such-package>=1", "pytest", "another-missing"], [], "no-such-package>=1, another-missing"),
        (["no-such-package; python_version < '3'"], [], ""),
        (["pytest"], ["dev"], "only-in-dev"),
    ],
)
def test_what_an_environment_lacks_is_named(
    tmp_path: Path, dependencies: list[str], extras: list[str], missing: str
) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        f"[project]\ndependencies = {dependencies}\n[project.optional-dependencies]\ndev = ['only-in-dev']\n"
    )
    answer = load("check_environment").main(str(pyproject), *extras)
    assert answer.startswith(missing) if missing else answer == ""


@pytest.mark.parametrize(
    ("exit_code", "returned", "said"),
    [(75, 75, "ended with code 75"), (-9, 137, "was killed by SIGKILL"), (-15, 143, "SIGTERM"), (2, 2, "")],
)
def test_torchrun_passes_a_process_s_exit_code_on(
    exit_code: int, returned: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    script = load("torchrun")

    def fail(_arguments: list[str]) -> None:
        failure = ProcessFailure(local_rank=1, pid=1, exitcode=exit_code, error_file="")
        raise ChildFailedError("editbench.edit", {3: failure})

    monkeypatch.setattr(script, "torchrun", fail)
    monkeypatch.setattr(script.logging, "disable", lambda _level: None)
    assert script.main([]) == returned
    printed = capsys.readouterr().err
    assert (said in printed and "editbench.edit: rank 3 on " in printed) if said else printed == ""
