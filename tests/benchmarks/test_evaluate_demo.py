"""The command: rows in their order of importance, whole or not there, and tables of what it kept."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import evaluate_demo
import evaluation_table
import loser_tables
import pytest
from candidates import Candidate
from evaluate_demo import collect, parsed, planned, rounded, row_of
from evaluation_table import GATE, gate, read_rows, single_table, table
from judgement import PLAIN
from judging import Judged, Settings, Task

from dcdr_deploy.errors import InputError

HDRI = Path(__file__).parents[2] / "data" / "hdri"
ARGUMENTS = ["--panoramas", str(HDRI), "--most", "2", "--workers", "2"]


def test_sizes_come_in_their_order_and_other_cameras_where_they_are_wanted() -> None:
    options = parsed([*ARGUMENTS, "--sizes", "32", "64", "--cameras", "all", "--camera-sizes", "32"])
    rows = list(dict.fromkeys(task.row for task in planned(options)))
    assert rows[0] == "panorama, 32 px, plain"
    assert rows[-1] == "panorama, 64 px, plain"
    assert {row.split(", ")[2] for row in rows} == {"plain", "JPEG 75", "gray", "other curve", "noise"}
    assert len(rows) == 6


@pytest.mark.parametrize(
    "arguments", [["--cameras", "plane"], ["--workers", "0"], ["--parts", "1.5"], ["--split", "train"]]
)
def test_a_bad_value_ends_with_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed([*ARGUMENTS, *arguments])
    assert "error:" in capsys.readouterr().err


def test_rows_are_kept_whole_and_tables_come_from_the_file(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.jsonl"
    options = parsed([*ARGUMENTS, "--sizes", "32", "48", "--everything", "-o", str(kept)])
    rows = collect(planned(options), [Candidate("net", tiny_model)], options, Settings(everything=True, largest=48))
    assert [row["size"] for row in rows] == [32, 48]
    printed = capsys.readouterr().out
    assert read_rows(kept) == json.loads(json.dumps(rounded(rows[0]) and [rounded(row) for row in rows]))
    monkeypatch.setattr(sys, "argv", ["evaluation_table.py", str(kept), "--methods", PLAIN, "net"])
    assert evaluation_table.main() == 0
    assert capsys.readouterr().out == printed
    assert "delta ITP" in printed


def test_a_run_that_is_out_of_time_keeps_no_half_row(tiny_model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    options = parsed([*ARGUMENTS, "--sizes", "32", "--seconds", "1e-6", "-o", str(kept)])
    assert collect(planned(options), [Candidate("net", tiny_model)], options, Settings(largest=32)) == []
    assert not kept.exists()


def results(tasks: Sequence[Task], then: Exception | None = None) -> Callable[..., Iterator[Judged]]:
    """What takes the place of ``judge``: results of these tasks in this order, and an error after them."""

    def judge(*_: object) -> Iterator[Judged]:
        for number, task in enumerate(tasks):
            (figures,) = row([1.0])["pictures"].values()
            yield Judged(task, f"{number}", task.size, figures)
        if then:
            raise then

    return judge


def test_rows_come_in_their_order_where_workers_overtake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.jsonl"
    options = parsed([*ARGUMENTS, "--sizes", "32", "48", "64", "-o", str(kept)])
    tasks = planned(options)
    monkeypatch.setattr(evaluate_demo, "judge", results(tasks[::-1]))
    assert [row["size"] for row in collect(tasks, [], options, Settings())] == [32, 48, 64]
    assert [row["size"] for row in read_rows(kept)] == [32, 48, 64]


def test_a_whole_row_is_kept_where_one_before_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.jsonl"
    options = parsed([*ARGUMENTS, "--sizes", "32", "48", "-o", str(kept)])
    tasks = planned(options)
    failed = [task for task in tasks if task.size == 48]
    monkeypatch.setattr(evaluate_demo, "judge", results(failed, then=RuntimeError("a worker failed")))
    with pytest.raises(RuntimeError, match="a worker failed"):
        collect(tasks, [], options, Settings())
    assert [row["size"] for row in read_rows(kept)] == [48]


def row(gains: list[float], kind: str = "panorama", size: int = 256, uv: float = 0.01, camera: str = "plain") -> dict:
    """A row of pictures with these gains of a network, of 100 clipped pixels each."""

    def figures(error: float, colour: float) -> dict[str, float]:
        regions = {"clipped sum": error * 100, "clipped count": 100.0, "unclipped sum": 1.0, "unclipped count": 900.0}
        return {**regions, "everything sum": error * 100 + 1, "everything count": 1000.0, "uv": colour}

    pictures = {
        f"{number}": {PLAIN: figures(0.1, 0.02), "net": figures(0.1 * 10 ** (-gained / 10), uv)}
        for number, gained in enumerate(gains)
    }
    return {"kind": kind, "size": size, "camera": camera, "edges": [size, size], "pictures": pictures}


def test_tables_say_what_the_pictures_gained() -> None:
    shown = table([row([1.0, 3.0, 5.0, -2.0])])
    (line,) = (line for line in shown.splitlines() if "| net |" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["4 panoramas", "256", "plain", "net"]
    assert cells[5:11] == ["+0.25", "+2.00", "+3.50", "-2.0", "25.0%", "25.0%"]


def test_a_network_that_failed_on_a_picture_is_left_out_of_that_row_and_misses_its_gate() -> None:
    whole, failed = row([1.0, 2.0]), row([1.0, 2.0], size=768)
    del failed["pictures"]["1"]["net"]
    lines = table([whole, failed]).splitlines()[2:]
    assert [line.split("|")[4].strip() for line in lines] == [PLAIN, "net", PLAIN]
    (verdict,) = {line.split("|")[-2].strip() for line in gate([failed], "net", None).splitlines()[2:]}
    assert verdict == "no"


def test_single_pictures_begin_with_the_worst() -> None:
    lines = single_table(row([1.0, 3.0, -2.0]), ["net"]).splitlines()[2:]
    assert lines == ["| 2 | -2.00 |", "| 0 | +1.00 |", "| 1 | +3.00 |"]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (row([7.0] * 100), ["yes"] * 5),
        (row([6.0] * 100), ["no", "yes", "yes", "yes", "yes"]),
        (row([9.0] * 97 + [-1.5] * 3), ["yes", "yes", "no", "yes", "yes"]),
        (row([9.0] * 99 + [-2.5]), ["yes", "yes", "yes", "no", "yes"]),
        (row([2.5] * 20, "photograph", uv=0.014), ["yes", "yes", "yes", "yes", "yes", "yes"]),
        (row([2.5] * 20, "photograph", uv=0.016), ["yes", "yes", "no", "yes", "yes", "yes"]),
        (row([1.0] * 20, camera="gray", uv=0.01), ["no"]),
    ],
)
def test_the_gate_names_what_is_missed(found: dict, verdict: list[str]) -> None:
    lines = gate([found], "net", PLAIN).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == verdict


def test_the_gate_asks_for_two_decibels_above_the_weights_before() -> None:
    assert GATE[0].kept(GATE[0].measure({"clipped gain": 4.5}, {"clipped gain": 2.5}))
    assert not GATE[0].kept(GATE[0].measure({"clipped gain": 4.5}, {"clipped gain": 2.6}))
    assert not GATE[0].kept(GATE[0].measure({"clipped gain": 4.5}, {}))


def test_a_row_without_pictures_is_none() -> None:
    assert row_of([Judged(Task("photograph, 4096 px, plain", None, 4096, "plain"))]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "no figures", "[1]", '{"kind": "photograph"}'])
@pytest.mark.parametrize("script", [evaluation_table, loser_tables])
def test_tables_say_that_a_file_is_not_what_they_show(
    script: ModuleType, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text(text)
    monkeypatch.setattr(sys, "argv", ["tables", str(kept)])
    with pytest.raises(InputError, match=r"evaluate_demo\.py|losers\.py"):
        script.main()


@pytest.mark.parametrize("name", ["evaluate_demo", "losers", "make_figure", "white_areas", "working_scale", "flicker"])
def test_folders_without_a_picture_of_the_split_are_told(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = pytest.importorskip(name)
    empty, kept = tmp_path / "empty", tmp_path / "kept.jsonl"
    empty.mkdir()
    output = {"evaluate_demo": ["-o", str(kept)], "losers": ["-o", str(kept)], "make_figure": ["-o", str(kept)]}
    words = [name, "--panoramas", str(empty), "--model", str(tiny_model), *output.get(name, [])]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(InputError, match=rf"{empty}: no (picture|panorama)"):
        script.main()


def test_figures_of_before_stay_where_folders_hold_no_picture(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("of before")
    (tmp_path / "empty").mkdir()
    for name in ("evaluate_demo", "losers"):
        words = ["--panoramas", str(tmp_path / "empty"), "--model", str(tiny_model), "-o", str(kept)]
        monkeypatch.setattr(sys, "argv", [name, *words])
        with pytest.raises(InputError):
            importlib.import_module(name).main()
        assert kept.read_text() == "of before"
