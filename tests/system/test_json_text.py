"""What machines are told is JSON to every reader, not to Python's alone."""

import json
import math
import re
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.system.json_text import json_text

ROOT = Path(dcdr_deploy.__file__).parent


def no_json(word):
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_null_wherever_it_stands(number):
    text = json_text({"loss": number, "of": [1.5, {"each": (number, True, "NaN")}]})
    assert json.loads(text, parse_constant=no_json) == {"loss": None, "of": [1.5, {"each": [None, True, "NaN"]}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_all_else_is_as_python_writes_it(indent):
    data = {"a": [1, 2.5, None, True], "ü": {"b": "text"}}
    assert json_text(data, indent=indent) == json.dumps(data, indent=indent)


def test_commands_tell_machines_in_no_other_way():
    others = [
        str(path) for path in ROOT.glob("commands/**/*.py") if re.search(r"\bjson\.dump", path.read_text("utf-8"))
    ]
    assert others == []
