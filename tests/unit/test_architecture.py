"""The rooms of the package stand on each other in one order, without a circle; and its functions stay small."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "editbench"
ORDER = (
    *(
        "errors",
        "text",
        "run.records",
        "config",
        "logs",
        "images",
        "gate",
        "server_address",
        "http_json",
        "components",
        "distributed",
        "run",
    ),
    *("datasets", "editors", "judges", "analysis", "results", "loaded_run", "ratings"),
    *("views", "exports", "trackers"),
    *("cli", "todo", "plan", "look", "pictures", "job", "edit", "score"),
    *("report", "compare", "verify", "agree", "rate", "export", "__main__"),
)
"""Rooms and modules from bottom to top: each imports from itself and from what stands before it."""

TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_bytes())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Own modules that are imported anywhere in a tree, but for `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = []
        yield from {name.removeprefix("editbench.") for name in names if name.startswith("editbench.")} & set(TREES)
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imported(node)


GRAPH = {module: set(imported(tree)) for module, tree in TREES.items()}


def floor(module: str) -> int:
    rooms = [number for number, room in enumerate(ORDER) if f"{module}.".startswith(f"{room}.")]
    assert rooms, f"{module} stands in no room: give it its place in ORDER"
    return max(rooms, key=lambda number: len(ORDER[number]))


def test_no_module_imports_upward_and_none_stands_in_a_circle() -> None:
    upward = [
        f"{lower} -> {upper}" for lower, uppers in GRAPH.items() for upper in uppers if floor(lower) < floor(upper)
    ]
    assert upward == []
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises CycleError


@pytest.mark.parametrize(("phase", "most"), [("edit", 12), ("score", 11)])
def test_a_phase_is_followed_without_many_other_modules(phase: str, most: int) -> None:
    assert 5 < len(GRAPH[phase]) <= most, sorted(GRAPH[phase])


def test_no_function_takes_more_than_five_parameters_nor_changes_an_outer_variable() -> None:
    found = []
    for module, tree in TREES.items():
        component = module.partition(".")[0] in ("datasets", "editors", "judges")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (component and node.name == "__init__"):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len([parameter for parameter in given if parameter.arg not in ("self", "cls")]) > 5:
                    found.append(f"{module}.{node.name} has many parameters")
            elif isinstance(node, ast.Global | ast.Nonlocal):
                found.append(f"{module}, line {node.lineno}: {ast.unparse(node)}")
    assert found == []
