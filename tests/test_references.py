"""What docstrings refer to exists: functions, methods, classes and data in the roles of Sphinx."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "dcdr_deploy"

_REFERENCE = re.compile(r":(?:func|meth|class|data|mod|attr|exc):`~?([\w.]+)")


@dataclass
class Class:
    """A class: what it and its bases define."""

    lines: range
    members: set[str]
    bases: list[str]


@dataclass
class Module:
    """What a module's names stand for: classes, names of other modules by ``module.name``, and anything else."""

    name: str
    text: str
    classes: dict[str, Class] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def assigned(node: ast.stmt) -> set[str]:
    """Names that a statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        inner = (each for each in ast.walk(node) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store))
        own = {each.attr for each in inner if isinstance(each.value, ast.Name) and each.value.id == "self"}
        return {node.name, *(own if not isinstance(node, ast.ClassDef) else ())}
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def read(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = Module(name, text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module.imported |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            module.imported |= {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ClassDef):
            members = set().union(*map(assigned, node.body))
            bases = [name.id for base in node.bases for name in ast.walk(base) if isinstance(name, ast.Name)]
            module.classes[node.name] = Class(range(node.lineno, node.end_lineno + 1), members, bases)
    module.names = set().union(*map(assigned, ast.parse(text).body), module.imported)
    return module


@cache
def modules() -> dict[str, Module]:
    """Those of the package by name; read when they are needed, for every process of a test run collects this file."""
    return {module.name: module for module in map(read, sorted((ROOT / PACKAGE).rglob("*.py")))}


def exists(name: str, module: Module) -> bool:
    """Tell whether a dotted name stands for something where a module's code says it."""
    first, _, rest = name.partition(".")
    if name in modules():
        return True
    if first in module.classes:
        return not rest or has_member(module, first, rest)
    if first in module.imported:
        target = module.imported[first]
        if not target.startswith(PACKAGE):
            return True
        return exists_from_root(f"{target}.{rest}" if rest else target)
    return first in module.names and not rest


def exists_from_root(name: str) -> bool:
    """Tell whether a name exists that begins with that of a module."""
    if name in modules():
        return True
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = modules().get(".".join(parts[:count]))
        if module is not None:
            return exists(".".join(parts[count:]), module)
    return False


def has_member(module: Module, name: str, member: str) -> bool:
    """Tell whether a class, or a base of it, defines a member."""
    found = module.classes.get(name)
    if found is None:
        source, _, original = module.imported.get(name, "").rpartition(".")
        return source in modules() and has_member(modules()[source], original, member)
    return member in found.members or any(has_member(module, base, member) for base in found.bases)


def test_what_docstrings_refer_to_exists():
    broken, count = [], 0
    for module in modules().values():
        folder = module.name.rpartition(".")[0]
        for reference in _REFERENCE.finditer(module.text):
            name, line = reference[1], module.text.count("\n", 0, reference.start()) + 1
            around = [each for each, known in module.classes.items() if line in known.lines]
            count += 1
            if not (
                exists(name, module)
                or exists_from_root(name)
                or exists_from_root(f"{folder}.{name}")
                or any(has_member(module, each, name) for each in around)
            ):
                broken.append(f"{module.name}, line {line}: {name}")
    assert count > 500, count
    assert broken == []
