"""What a command says that it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcdr_deploy.commands.show.written import show_written

FILES = {"script": Path("hdr\x1b[2J.vpy"), "model": Path("net.onnx")}


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]):
    def show(*, as_json: bool):
        show_written(FILES, ["needs Python 3.12"], as_json=as_json)
        return capsys.readouterr()

    return show


def test_files_are_a_line_each_fit_for_a_terminal(told):
    assert told(as_json=False).out == "hdr\\x1b[2J.vpy\nnet.onnx\n"


def test_machines_get_one_object_with_the_names_as_they_are(told):
    assert json.loads(told(as_json=True).out) == {name: str(path) for name, path in FILES.items()}


@pytest.mark.parametrize("as_json", [False, True])
def test_notes_go_where_they_disturb_no_machine(told, as_json):
    assert told(as_json=as_json).err == "note: needs Python 3.12\n"
