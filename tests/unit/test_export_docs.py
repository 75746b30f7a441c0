"""Every line of docs/export.md that can be copied does what the page says."""

import re
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_file import make_picture, png_bytes
from made_run import make_run, write_folder
from running import CHECKOUT

from editbench.config.load import load
from editbench.config.options import read
from editbench.export import ExportOptions, main

PAGE = (CHECKOUT / "docs" / "export.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
EXPORTS = [line for line in LINES if line.startswith("python -m editbench.export ")]
REPORTS = [line for line in LINES if line.startswith("python -m editbench.report ")]


def table_run(root, name, rows, *overrides):
    """A run on a dataset of the kind `name` whose samples are scored."""
    write_folder(root / name, rows)
    make_run(root / "runs" / f"my-{name}", [f"dataset={name}", f"dataset.path={root / name}", *overrides], [5.0])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the runs that the page names."""
    root = tmp_path_factory.mktemp("place")
    rows = [{"id": f"s{n}", "category": category} for n, category in enumerate(["physical", "physical", "social"])]
    write_folder(root / "photos", rows)
    dataset = ["dataset=folder", f"dataset.path={root / 'photos'}", "rubric=seed"]
    make_run(root / "runs" / "mine", dataset, [8.0, "unparsed", 3.0])
    image = pa.array([{"bytes": png_bytes(make_picture(0)), "path": None}])
    texts = {"task_type": "tone_transfer", "key": "0" * 32, "instruction": "Dusk", "instruction_language": "en"}
    (root / "gedit").mkdir()
    columns = {name: pa.array([text]) for name, text in texts.items()}
    pq.write_table(pa.table({**columns, "input_image": image}), root / "gedit" / "0.parquet")
    make_run(root / "runs" / "my-gedit", ["dataset=gedit", f"dataset.path={root / 'gedit'}"], [5.0])
    fields = ["dataset.fields.image=file_name"]
    table_run(root, "imgedit", [{"prompt": "Go", "edit_type": "add", "_key": "7"}], *fields)
    kris = [{"ins_en": "Go", "explain_en": "It goes"}]
    write_folder(root / "KRIS" / "physics", kris)
    dataset = ["dataset=kris", f"dataset.path={root / 'KRIS'}", 'dataset.table="*/metadata.jsonl"']
    make_run(root / "runs" / "my-kris", [*dataset, "dataset.fields.id=[_folder,instruction]", *fields], [5.0])
    rise = [{"index": "causal_reasoning_1", "category": "causal_reasoning"}]
    table_run(root, "rise", rise, *fields)
    return root


@pytest.mark.parametrize("line", EXPORTS)
def test_the_page_s_exports_write_what_they_say(line, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    options = read(ExportOptions, shlex.split(line, comments=True)[3:])
    main(options)
    assert options.out.exists() and "sample" in capsys.readouterr().out


@pytest.mark.parametrize("line", REPORTS)
def test_the_page_s_trackers_compose(line):
    assert load(shlex.split(line)[3:]).tracker.name in line


def test_the_page_s_python_runs(place, monkeypatch, capsys):
    pytest.importorskip("pandas", reason="pandas is not installed")
    monkeypatch.chdir(place)
    names = {}
    for block in PYTHON:
        exec(compile(block, "docs/export.md", "exec"), names)
    assert names["picture"].size == (40, 30)
    printed = capsys.readouterr().out
    assert re.search(r"physical +8\.0 +1 +2\n", printed), printed
    assert re.search(r"scored +2\nunparsed +1\n", printed), printed


def test_the_page_has_lines_of_every_kind():
    assert (len(EXPORTS), len(REPORTS), len(PYTHON), len(LINES)) == (11, 3, 2, 14)
