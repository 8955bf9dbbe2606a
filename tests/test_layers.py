"""Every arrow points down: a room of the package imports rooms below it only, lazily or not."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dcdr_deploy

PACKAGE = Path(dcdr_deploy.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("__init__",),  # names the public functions; imports their modules when they are asked for
    ("cli",),
    ("commands",),
    ("commands.options",),
    ("commands.show",),
    ("building", "evaluation", "serving"),
    ("inspection",),
    ("run",),
    ("training",),
    ("export",),
    ("engines",),
    ("engines.tensorrt", "engines.torch"),
    ("engines.cuda",),
    ("models", "scenes"),
    ("metrics", "view"),
    ("modelfile", "imaging"),
    ("system", "weights"),
    ("errors", "_version"),
)
"""From the top down. Rooms of one floor do not import each other."""

TO_THE_BASE = {("engines.tensorrt", "engines"), ("engines.torch", "engines"), ("engines.cuda", "engines")}
"""Arrows inside ``engines``: a backend in a folder implements ``engines/base.py``, which has no folder of its own."""

LEVEL = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def room_of(module: str) -> str:
    """The room of a module below the package, e.g. ``"engines.cuda"`` for ``"engines.cuda.driver"``."""
    parts = module.split(".")
    inner = ".".join(parts[:2])
    return inner if inner in LEVEL else parts[0]


def modules(package: Path) -> dict[str, Path]:
    return {".".join(file.relative_to(package).with_suffix("").parts): file for file in sorted(package.rglob("*.py"))}


def imports(package: Path, file: Path) -> Iterator[tuple[int, str]]:
    """Lines and modules below the package that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            parts = (node.module or "").split(".")
            if parts[0] == "dcdr_deploy":
                for each in node.names:
                    place = package.joinpath(*parts[1:], each.name)
                    is_module = place.is_dir() or place.with_suffix(".py").is_file()
                    yield node.lineno, ".".join([*parts[1:], each.name] if is_module else parts[1:]) or "__init__"
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.startswith("dcdr_deploy."):
                    yield node.lineno, each.name.removeprefix("dcdr_deploy.")


def arrows_up(package: Path) -> list[str]:
    """Imports of a room that is on the same floor or above."""
    return [
        f"{file.relative_to(package)}:{line} imports {target}"
        for module, file in modules(package).items()
        for line, target in imports(package, file)
        if room_of(module) != room_of(target)
        and (room_of(module), room_of(target)) not in TO_THE_BASE
        and LEVEL[room_of(module)] >= LEVEL[room_of(target)]
    ]


def circle(package: Path) -> list[str]:
    """Modules that import each other, lazily or not; what type checkers alone import does not count."""
    graph: dict[str, set[str]] = {}
    for module, file in modules(package).items():
        name = module.removesuffix(".__init__")
        ignored = for_type_checkers(file)
        graph[name] = {target for line, target in imports(package, file) if line not in ignored and target != name}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def for_type_checkers(file: Path) -> set[int]:
    return {
        line
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def unlisted(package: Path) -> set[str]:
    """Rooms that are on no floor."""
    rooms = {room_of(module) for module in modules(package)}
    inner = {f"engines.{folder.parent.name}" for folder in package.glob("engines/*/__init__.py")}
    return (rooms | inner) - set(LEVEL)


def test_every_room_is_on_a_floor() -> None:
    assert unlisted(PACKAGE) == set()
    assert {room for room in LEVEL if not list(PACKAGE.glob(f"{room.replace('.', '/')}*"))} == set()


def test_no_arrow_points_up_or_sideways() -> None:
    assert arrows_up(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(PACKAGE) == []


def test_an_arrow_up_a_circle_and_a_new_room_would_be_found(tmp_path: Path) -> None:
    """The checks above can fail."""
    for name, text in {
        "engines/base.py": "def f():\n    from dcdr_deploy.run.tiling import plan\n",
        "run/tiling.py": "from dcdr_deploy.run import frames\n",
        "run/frames.py": "import dcdr_deploy.run.tiling\n",
        "extras/thing.py": "",
        "engines/mlx/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert unlisted(tmp_path) == {"extras", "engines.mlx"}
    (tmp_path / "extras" / "thing.py").unlink()
    assert arrows_up(tmp_path) == ["engines/base.py:2 imports run.tiling"]
    assert set(circle(tmp_path)) == {"run.tiling", "run.frames"}


OPTIONAL = (
    "torch", "torchvision", "onnx", "onnxscript", "safetensors", "openvino", "tensorrt", "tensorrt_rtx", "cuda",
    "imagecodecs", "pillow_heif",
    "skimage", "lpips", "pycvvdp", "av", "scipy", "fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client",
    "ray", "fsspec", "pyarrow", "tritonclient",
)  # fmt: skip
"""Packages of extras, by the names they are imported by."""

NEEDS = {
    "torch": ("models", "training", "export", "engines.torch.fused", "engines.torch.graphs"),
    "onnx": ("export", "building.prepare", "building.hidden_maps", "building.network"),
    "uvicorn": ("serving.server",),
    "prometheus_client": ("serving.metrics",),
    "fastapi": ("serving.http", "commands.serve"),
}
"""Modules that cannot be imported without a package: what they are about is that package's."""


def test_every_module_can_be_imported_where_no_optional_package_is() -> None:
    script = f"""
import importlib, json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
missing = {{}}
for name in {sorted(module.removesuffix(".__init__") for module in modules(PACKAGE) if module != "__main__")!r}:
    try:
        importlib.import_module("dcdr_deploy" if name == "__init__" else f"dcdr_deploy.{{name}}")
    except ModuleNotFoundError as error:
        missing[name] = (error.name or "").partition(".")[0]
print(json.dumps(missing))
"""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    missing: dict[str, str] = json.loads(done.stdout)
    unexpected = {
        module: package
        for module, package in missing.items()
        if not any(module == each or module.startswith(f"{each}.") for each in NEEDS.get(package, ()))
    }
    assert unexpected == {}
