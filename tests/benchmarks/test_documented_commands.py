"""Every command line of a script, in a document or in its own docstring, is one that the script takes today."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command_line import ROOT, Parser
from documents import DOCUMENTS, code, parts

USAGE = re.compile(r"^ *python (benchmarks/.*(?:\\?\n +[\[-].*)*)", re.MULTILINE)
"""A command line in a docstring, with lines that go on with it."""

MORE = "..."
"""Stands for options that a document has named before."""


class ParsedError(Exception):
    """The command line was taken."""


def in_documents() -> Iterator[tuple[str, list[str]]]:
    for document in DOCUMENTS:
        for line in code(document):
            words = parts(line, "python") or [""]
            if words[0].startswith("benchmarks/"):
                yield document.name, words


def in_docstrings() -> Iterator[tuple[str, list[str]]]:
    for script in sorted((ROOT / "benchmarks").glob("*.py")):
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
        for found in USAGE.findall(text):
            lines = [
                re.split(r" {2}", line.strip(), maxsplit=1)[0] for line in found.splitlines()
            ]  # before what it tells
            yield script.name, shlex.split(re.sub(r"[\[\]\\]", " ", " ".join(lines)))


COMMANDS = list(dict.fromkeys((origin, *words) for origin, words in (*in_documents(), *in_docstrings())))


def make_paths(words: Sequence[str]) -> None:
    """Make what a command line names, here: files by their suffix or an upper-case name, the others folders."""
    for word in words:
        path = Path(word)
        if word.startswith("-") or path.exists():
            continue
        if word.endswith("/") or word == "FOLDER" or ("/" in word and not path.suffix):
            path.mkdir(parents=True)
        elif re.fullmatch(r"\.\w+|", path.suffix) and (path.suffix or word.isupper()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_there_are_commands_of_both_kinds() -> None:
    assert len(list(in_documents())) > 50
    assert len({origin for origin, _ in in_docstrings()}) > 30


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_script_takes_it(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, script, *words = command
    module = pytest.importorskip(Path(script).stem)
    taken = Parser.parse_args

    def parse_args(parser: Parser, arguments: Sequence[str] | None = None) -> None:
        if MORE in words:
            for action in parser._actions:
                action.required = False
        taken(parser, arguments)
        raise ParsedError

    monkeypatch.chdir(tmp_path)
    make_paths(words)
    monkeypatch.setattr(Parser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", [script, *(word for word in words if word != MORE)])
    with pytest.raises(ParsedError):
        module.main()
