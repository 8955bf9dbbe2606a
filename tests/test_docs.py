"""What the documents tell to type exists: extras, commands, options, scripts, names, links."""

from __future__ import annotations

import functools
import re
import shutil
import sys
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS, FENCE, ROOT, code, parts

import dcdr_deploy
from dcdr_deploy.cli import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings there

README_WORDS = 1200

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def commands_of(document: Path) -> list[list[str]]:
    """Command lines of dcdr-deploy, as lists of words without the program's name."""
    starts = ("dcdr-deploy", r"torchrun .*-m dcdr_deploy", "python -m dcdr_deploy")
    found = [parts(line, start) for line in code(document) for start in starts]
    return [words for words in found if words]


@functools.cache
def load(name: str) -> click.Command:
    return COMMANDS[name].load()


@functools.cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def options_of(name: str) -> set[str]:
    return {option for parameter in load(name).params for option in (*parameter.opts, *parameter.secondary_opts)}


by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_there_are_documents_with_commands_and_install_lines():
    assert ROOT / "README.md" in DOCUMENTS
    assert len(commands_of(ROOT / "README.md")) >= 8
    assert len(SNIPPETS) >= 2
    assert sum(line.count("pip install") for path in DOCUMENTS for line in code(path)) > 10


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


@by_document
def test_install_lines_name_extras_of_this_checkout(document):
    for line in code(document):
        words = parts(line, "pip install")
        if words is None:
            continue
        for word in words:
            assert "dcdr-deploy" not in word, f"{line}: not on PyPI before a release"
            extras = re.fullmatch(r"\.\[(.+)\]", word)
            for extra in extras[1].split(",") if extras else ():
                assert extra in project()["optional-dependencies"], line


@by_document
def test_commands_and_their_options_exist(document):
    for words in commands_of(document):
        name, *arguments = words
        if name.startswith("-"):
            assert name in {"--help", "--version"}
            continue
        assert name in COMMANDS, words
        command = load(name)
        context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
        values, _, _ = command.make_parser(context).parse_args(list(arguments))
        for parameter in command.params:
            value = values.get(parameter.name)
            if isinstance(parameter.type, click.Choice) and isinstance(value, str):
                parameter.type.convert(value, parameter, context)


@by_document
def test_options_named_in_a_sentence_are_options_of_some_command(document):
    if document.name not in {"README.md", "MODEL_CARD.md"} and document.parent.name != "docs":
        pytest.skip("names other programs' options")
    known = {option for name in COMMANDS for option in options_of(name)} | {"--help", "--version"}
    for line in code(document):
        if line.startswith("--"):
            assert re.match(r"--[\w-]+", line)[0] in known, line


@by_document
def test_scripts_exist(document):
    """Whether their options do, tests/benchmarks/test_documented_commands.py asks."""
    for line in code(document):
        words = parts(line, "python") or []
        if words and words[0].endswith(".py"):
            assert (ROOT / words[0]).is_file(), line


@by_document
def test_links_lead_to_files_and_headings(document):
    for target in _LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


@by_document
def test_python_snippets_use_names_that_the_package_has(document):
    for block in FENCE.findall(document.read_text(encoding="utf-8")):
        for name in re.findall(r"\bdcdr_deploy\.(\w+)", block):
            assert hasattr(dcdr_deploy, name), name


NEEDS_A_SERVER = ROOT / "docs" / "serving.md"
SNIPPETS = [
    pytest.param(block, id=f"{document.relative_to(ROOT)}-{number}")
    for document in DOCUMENTS
    if document != NEEDS_A_SERVER
    for number, block in enumerate(_PYTHON.findall(document.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_snippets_run_as_they_stand(snippet, tiny_model, make_picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCDR_MODEL", str(shutil.copy(tiny_model, "model.onnx")))
    for name in ("in.png", "in.jpg"):
        make_picture(tmp_path / name)
    exec(compile(snippet, "snippet", "exec"), {})
    assert "out.exr" not in snippet or (tmp_path / "out.exr").is_file()


@by_document
def test_make_targets_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in code(document):
        for target in (parts(line, "make") or [])[:1]:
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), line


def test_messages_take_their_install_lines_from_one_place():
    written = re.compile(r"pip install(?! --no-deps)")
    holders = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dcdr_deploy").rglob("*.py")
        if written.search(path.read_text(encoding="utf-8"))
    }
    assert holders == {"dcdr_deploy/system/packages.py"}
