"""The Dockerfiles, as far as they can be checked without Docker: no image is built here."""

from __future__ import annotations

import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from dcdr_deploy.cli import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings there

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").iterdir())


def instructions(file: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, lines that go on joined."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last(file: Path, word: str) -> str:
    return [rest for each, rest in instructions(file) if each == word][-1]


by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def test_there_is_one_for_the_processor_and_one_for_gpus():
    assert [file.name for file in FILES] == ["Dockerfile", "Dockerfile.cuda"]


@by_file
def test_the_service_does_not_run_as_root(file):
    assert int(last(file, "USER")) > 0
    words = [word for word, _ in instructions(file)]
    assert words.index("USER") > max(place for place, word in enumerate(words) if word == "RUN")


@by_file
def test_the_image_holds_the_wheel_and_no_source(file):
    final = instructions(file)
    final = final[max(place for place, (word, _) in enumerate(final) if word == "FROM") :]
    assert [rest for word, rest in final if word in ("COPY", "ADD")] == ["--from=wheel /wheels /wheels"]


@by_file
def test_extras_exist(file):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"\*\.whl\)\[(.+?)\]", file.read_text(encoding="utf-8"))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "serve" in extras.split(",")


@by_file
def test_what_is_copied_is_there_and_not_ignored(file):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, rest in instructions(file):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) for pattern in kept), source


@by_file
def test_the_wheel_s_build_finds_all_that_pyproject_names(file):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = " ".join(rest for word, rest in instructions(file) if word == "COPY")
    assert project["readme"] in copied
    assert all(name in copied for name in project["license-files"])


@by_file
def test_the_command_is_one_of_ours_and_its_health_check_asks_its_port(file):
    assert json.loads(last(file, "ENTRYPOINT")) == ["dcdr-deploy"]
    name, *arguments = json.loads(last(file, "CMD"))
    command = COMMANDS[name].load()
    with command.make_context(name, arguments) as context:
        assert context.params["host"] == "0.0.0.0"
        port = context.params["port"]
    assert last(file, "EXPOSE") == str(port)
    assert f"127.0.0.1:{port}/health" in last(file, "HEALTHCHECK")
