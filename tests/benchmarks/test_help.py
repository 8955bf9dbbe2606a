"""Whoever asks a script in benchmarks/ for ``--help`` gets that, before any work."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcdr_deploy

ROOT = Path(dcdr_deploy.__file__).parent.parent
FOLDER = ROOT / "benchmarks"
USAGE = re.compile(r"python benchmarks/(\w+)\.py")


def is_started(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)


SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if is_started(ast.parse(path.read_text(encoding="utf-8")))]


def calls(statement: ast.stmt) -> Iterator[str]:
    """Names of what a statement calls while it runs; a lambda's body runs later."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if not isinstance(node, ast.Lambda | ast.FunctionDef):
            waiting.extend(ast.iter_child_nodes(node))


def parses_first(functions: dict[str, ast.FunctionDef], name: str) -> bool:
    """Whether a function reads the arguments, itself or by another one, before it works.

    Work is a loop, a block, or a call of another function of the script; defaults of options may ask a library.
    """
    for statement in functions[name].body:
        called = list(calls(statement))
        if "parse_args" in called or any(each in functions and parses_first(functions, each) for each in called):
            return True
        if isinstance(statement, ast.For | ast.While | ast.With) or not functions.keys().isdisjoint(called):
            return False
    return False


def test_all_scripts_are_looked_at():
    assert len(SCRIPTS) > 10
    assert FOLDER / "make_samples.py" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_reads_its_arguments_before_it_works_and_ends_as_all_do(script: Path):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert parses_first(functions, "main")
    assert USAGE.search(ast.get_docstring(tree) or "")[1] == script.stem
    assert "Parser(__doc__)" in ast.unparse(tree)
    assert ast.unparse(tree.body[-1].body[0]) == "start(main)"
    at_import = {ast.unparse(node.value.func) for node in tree.body if is_call(node)}
    assert at_import <= {"sys.path.insert"}


def is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ("parser = argparse.ArgumentParser()\n    parser.parse_args()\n    work()", True),
        ("work()\n    argparse.ArgumentParser().parse_args()", False),
        ("for name in (1, 2):\n        print(name)\n    argparse.ArgumentParser().parse_args()", False),
        ("pass", False),
    ],
)
def test_the_rule_tells_them_apart(body: str, first: bool):
    tree = ast.parse(f"def main():\n    {body}\ndef work():\n    pass\n")
    assert parses_first({node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}, "main") is first


def test_help_of_a_script_writes_nothing(tmp_path: Path):
    samples = {path: path.stat().st_mtime_ns for path in (ROOT / "samples").rglob("*")}
    done = subprocess.run(
        [sys.executable, FOLDER / "make_samples.py", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: make_samples.py")
    assert {path: path.stat().st_mtime_ns for path in (ROOT / "samples").rglob("*")} == samples
    assert list(tmp_path.iterdir()) == []
