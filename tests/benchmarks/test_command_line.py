"""What a user does wrong on a script's command line is one line, and what ``--help`` leaves open are no defaults."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import command_line
import pytest
from command_line import Parser, several, start

from dcdr_deploy.errors import InputError


def ended(main: Callable[[], int | None]) -> int:
    with pytest.raises(SystemExit) as end:
        start(main)
    assert isinstance(end.value.code, int)
    return end.value.code


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_script_ends_with_the_status_of_its_main_function(status: int | None, code: int) -> None:
    assert ended(lambda: status) == code


def test_an_error_of_the_user_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(InputError("a.png: no picture;\nname another"))) == 2
    assert capsys.readouterr().err == "error: a.png: no picture; name another\n"


def test_ctrl_c_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        start(raising(ZeroDivisionError()))


def help_of(*names: str, later: object = None, **settings: object) -> str:
    parser = Parser("What it measures.\n\n    an example")
    parser.add_argument(*names, **settings)
    if later is not None:
        parser.set_defaults(**{names[0].strip("-"): later})
    found = parser.format_help()
    assert "\n    an example\n" in found
    assert parser.format_help() == found
    return " ".join(found.split())


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"default": 24, "help": "of a clip"}, "of a clip [24]"),
        ({"default": 2e-4}, "--given GIVEN [0.0002]"),
        ({"default": "2,12"}, "--given GIVEN [2,12]"),
        ({"default": [512, 256], "nargs": "+"}, "[512 256]"),
        ({"default": command_line.ROOT / "data" / "hdri"}, "--given GIVEN [data/hdri]"),
        ({"default": "90 %", "help": "share"}, "share [90 %]"),
        ({"default": 8, "later": 9, "help": "crops"}, "crops [9]"),
        ({"default": Path("model.onnx"), "help": "a model [demo]"}, "a model [demo]"),
    ],
)
def test_help_tells_a_default_unless_it_says_it_in_brackets(settings: dict[str, object], shown: str) -> None:
    assert help_of("--given", **settings).endswith(shown)


@pytest.mark.parametrize(
    "settings",
    [{}, {"action": "store_true"}, {"action": "append", "default": []}, {"default": 5, "help": argparse.SUPPRESS}],
)
def test_help_tells_no_default_where_there_is_none_to_type(settings: dict[str, object]) -> None:
    assert "[None]" not in help_of("--given", **settings)
    assert not help_of("--given", **settings).endswith("]")


PLACE = Path(__file__).parent


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("existing_folder", str(PLACE), PLACE),
        ("existing_file", __file__, Path(__file__)),
        ("new_file", str(PLACE / "new" / "kept.jsonl"), PLACE / "new" / "kept.jsonl"),
        ("new_folder", str(PLACE / "new" / "runs"), PLACE / "new" / "runs"),
        ("whole_number", "12", 12),
        ("above_zero", "1e-6", 1e-6),
        ("height_and_width", "1080x1920", (1080, 1920)),
    ],
)
def test_values_are_taken(kind: str, text: str, value: object) -> None:
    assert getattr(command_line, kind)(text) == value
    assert not (PLACE / "new").exists()


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("existing_folder", str(PLACE / "none"), "no such folder"),
        ("existing_folder", __file__, "is a file"),
        ("existing_file", str(PLACE / "none"), "no such file"),
        ("existing_file", str(PLACE), "is a folder"),
        ("new_file", str(PLACE), "is a folder"),
        ("new_file", str(Path(__file__) / "kept.jsonl"), "is not a folder"),
        ("new_folder", __file__, "is not a folder"),
        *(("whole_number", text, "no whole number from 1 on") for text in ("0", "-1", "1.5", "", "a")),
        *(("above_zero", text, "no number above 0") for text in ("0", "-1", "nan", "inf", "a")),
        *(("height_and_width", text, "write HEIGHTxWIDTH") for text in ("10", "0x10", "10x", "10x20x30", "axb")),
    ],
)
def test_other_values_are_refused_in_a_line(
    kind: str, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser("What it measures.")
    parser.add_argument("--given", type=getattr(command_line, kind))
    with pytest.raises(SystemExit) as end:
        parser.parse_args([f"--given={text}"])
    assert end.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_several_values_have_commas_between_them() -> None:
    assert several(command_line.height_and_width)("4x6,8x10") == [(4, 6), (8, 10)]


def test_without_a_gpu_a_line_says_that_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line.hardware, "compute_capabilities", lambda: [])
    assert ended(command_line.need_gpu) == 2


@pytest.mark.parametrize("name", ["gpu_network", "gpu_convolution", "gpu_dcrb_checks"])
def test_a_script_that_needs_a_gpu_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = pytest.importorskip(name)
    monkeypatch.setattr(command_line.hardware, "compute_capabilities", lambda: [])
    monkeypatch.setattr(sys, "argv", [name])
    assert ended(script.main) == 2
    assert "needs an NVIDIA GPU" in capsys.readouterr().err
