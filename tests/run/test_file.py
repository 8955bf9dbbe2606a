"""One file: the numbers that arrive, the names, the header, and what is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from bright_engine import BrightEngine
from ear import Ear
from gain_net import GAIN, PEAK
from PIL import Image

import dcdr_deploy
from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import EngineError, InputError, ModelError, NonFiniteError, OutputError
from dcdr_deploy.imaging import write
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.write import WriteOptions
from dcdr_deploy.imaging.writers.base import Format, Job
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.events import EngineReady, FileBegun, FileConverted, FilesFound, ModelChosen
from dcdr_deploy.run.file import PreparedFile, convert_file
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.outputs import ConvertOptions, preview_path
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.system.progress import Event

NATIVE = ConvertOptions(scale="native")
"""The network's own numbers, for pictures in which nothing clips."""
ORT = RunnerSettings(backend="onnxruntime")


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Iterator[Runner]:
    with load_engine(tiny_model, "onnxruntime") as engine:
        yield Runner(engine)


def exr(path: Path) -> tuple[np.ndarray, dict]:
    with OpenEXR.File(str(path)) as file:
        return np.array(file.channels()["RGB"].pixels), dict(file.header())


def test_an_exr_holds_the_network_value_times_the_peak(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "in.png", level=51)
    report = convert_file(source, tmp_path / "out.exr", runner, NATIVE)
    pixels, header = exr(report.output)
    assert pixels.shape == (24, 32, 3)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(pixels[5, 5].astype(float), 51 / 255 * GAIN * PEAK, rtol=1e-3)
    assert header["software"] == f"dcdr-deploy {dcdr_deploy.__version__}"
    assert (header["model"], header["source"], header["peak"]) == ("gain net", "in.png", "8")
    assert header["weightsSha256"] == "feed" * 16


@pytest.mark.parametrize("suffix", [".exr", ".png"])
def test_the_numbers_reported_are_those_of_the_file_whatever_the_network_gives(tmp_path, suffix):
    beyond = Runner(BrightEngine(lambda light: np.where(light > 0.5, 9.2, -0.2)))
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 32, axis=0).repeat(32, axis=1)).save(tmp_path / "in.png")
    report = convert_file(tmp_path / "in.png", tmp_path / f"out{suffix}", beyond, NATIVE)
    brightest = 9.2 if suffix == ".exr" else PEAK
    assert report.statistics["min"] == 0
    assert report.statistics["max"] == pytest.approx(brightest, rel=1e-3)
    picture = read_hdr(report.output)
    scale = 1 if suffix == ".exr" else PEAK
    assert float(picture.pixels.max()) * scale == pytest.approx(report.statistics["max"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("out.png", WriteOptions(), True),
        ("out.tif", WriteOptions(), True),
        ("out.tif", WriteOptions(float32=True), False),
        ("out.exr", WriteOptions(), False),
        ("out.hdr", WriteOptions(), False),
        ("out.png", WriteOptions(light=Light(transfer="pq")), False),
    ],
)
def test_light_that_a_file_has_no_numbers_for_is_told(tmp_path, name, options, told):
    beyond = Runner(BrightEngine(lambda light: np.where(light > 0.5, 9.2, 0.2)))
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 32, axis=0).repeat(32, axis=1)).save(tmp_path / "in.png")
    report = convert_file(tmp_path / "in.png", tmp_path / name, beyond, replace(NATIVE, write=options))
    sentence = "50.0% of the pixels are brighter than 8 x SDR white, where the file ends; EXR of 32-bit floats does not"
    assert report.notes == ((sentence,) if told else ())


def test_what_was_restored_up_to_the_peak_is_not_told_as_cut_off(tmp_path):
    full = Runner(BrightEngine(lambda light: PEAK * light))
    Image.new("RGB", (32, 32), "white").save(tmp_path / "in.png")
    assert not convert_file(tmp_path / "in.png", tmp_path / "out.png", full).notes
    brighter = ConvertOptions(dials=Dials(exposure=1))
    (note,) = convert_file(tmp_path / "in.png", tmp_path / "more.png", full, brighter).notes
    assert note.startswith("100.0% of the pixels are brighter than 8 x SDR white")


@pytest.mark.parametrize(
    ("name", "alpha", "told"),
    [
        ("out.hdr", 254, True),
        ("out.jpg", 0, True),
        ("out.hdr", 255, False),  # opaque: nothing is lost
        ("out.exr", 0, False),
        ("out.png", 0, False),
        ("out.tif", 0, False),
    ],
)
def test_transparency_that_a_file_cannot_hold_is_told(tmp_path, runner, name, alpha, told):
    pixels = np.full((24, 32, 4), 255, np.uint8)
    pixels[3, 4] = (90, 90, 90, alpha)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    report = convert_file(tmp_path / "in.png", tmp_path / name, runner)
    sentence = f"{Path(name).suffix} cannot hold transparency, which is left out"
    assert (sentence in report.notes) == told


def test_the_report_says_what_was_done(tmp_path, runner, tiny_model, make_picture):
    source = make_picture(tmp_path / "in.png", level=51)
    report = convert_file(source, tmp_path / "out.exr", runner, ConvertOptions(preview=True, scale="native"))
    assert (report.source, report.output, report.preview) == (
        source,
        tmp_path / "out.exr",
        tmp_path / "out.preview.png",
    )
    assert (report.width, report.height, report.run.tiles) == (32, 24, 1)
    assert (report.model, report.backend) == (tiny_model.name, "onnxruntime")
    assert set(report.stages) == {"decode", "infer", "encode"}
    assert report.seconds == pytest.approx(sum(report.stages.values()))
    assert report.statistics == pytest.approx({"min": 0, "median": 0.8, "p99": 0.8, "max": 0.8}, rel=1e-3)
    data = report.as_dict()
    assert data["output"] == str(report.output)
    assert data["preview"] == str(report.preview)
    assert data["tile_size"] == [24, 32]


def test_a_preview_is_an_8_bit_picture_of_the_same_size(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "in.png", level=51)
    report = convert_file(source, tmp_path / "a.b.exr", runner, ConvertOptions(preview=True))
    assert report.preview == tmp_path / "a.b.preview.png"
    with Image.open(report.preview) as preview:
        assert (preview.mode, preview.size) == ("RGB", (32, 24))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_integer_formats_hold_the_network_value(tmp_path, runner, make_picture, suffix):
    report = convert_file(make_picture(tmp_path / "in.jpg", level=102), tmp_path / f"out{suffix}", runner, NATIVE)
    pixels = cv2.imread(str(report.output), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    assert pixels[12, 16, 1] == pytest.approx(102 / 255 * GAIN * 65535, abs=1)


def test_write_options_reach_the_file(tmp_path, runner, make_picture):
    options = ConvertOptions(WriteOptions(exr_compression="piz", float32=True))
    report = convert_file(make_picture(tmp_path / "in.png"), tmp_path / "out.exr", runner, options)
    pixels, header = exr(report.output)
    assert header["compression"] == OpenEXR.PIZ_COMPRESSION
    assert pixels.dtype == np.float32


def test_alpha_goes_through(tmp_path, runner):
    Image.fromarray(np.full((8, 8, 4), (51, 51, 51, 128), np.uint8)).save(tmp_path / "in.png")
    convert_file(tmp_path / "in.png", tmp_path / "out.exr", runner)
    with OpenEXR.File(str(tmp_path / "out.exr")) as file:
        assert file.channels()["RGBA"].pixels[0, 0, 3] == pytest.approx(128 / 255, rel=1e-3)


def test_what_the_reader_left_out_is_in_the_report(tmp_path, runner):
    pages = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (51, 102)]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    assert convert_file(tmp_path / "in.tif", tmp_path / "out.exr", runner).notes


def test_strings_name_files_as_well_as_paths(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "in.png")
    assert convert_file(str(source), str(tmp_path / "out.hdr"), runner).output == tmp_path / "out.hdr"


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_as_target_gets_the_name_of_the_source(tmp_path, runner, make_picture, exists):
    folder = tmp_path / "results"
    if exists:
        folder.mkdir()
    target = folder if exists else f"{folder}/"
    report = convert_file(make_picture(tmp_path / "shot.1.png"), target, runner, ConvertOptions(format="hdr"))
    assert report.output == folder / "shot.1.hdr"
    assert report.output.is_file()


def test_an_older_target_is_replaced(tmp_path, runner, make_picture):
    target = tmp_path / "out.exr"
    target.write_bytes(b"old")
    convert_file(make_picture(tmp_path / "in.png"), target, runner)
    assert exr(target)[0].shape == (24, 32, 3)


def test_a_failed_run_leaves_the_older_target_and_no_other_file(tmp_path, runner):
    target = tmp_path / "out.exr"
    target.write_bytes(b"old")
    (tmp_path / "in.png").write_bytes(b"no picture")
    with pytest.raises(InputError):
        convert_file(tmp_path / "in.png", target, runner)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"in.png", "out.exr"}


@pytest.mark.parametrize("way", ["same", "dotted", "link"])
def test_an_output_never_replaces_its_input(tmp_path, runner, make_picture, way):
    source = make_picture(tmp_path / "in.png")
    before = source.read_bytes()
    (tmp_path / "link.png").symlink_to(source)
    (tmp_path / "sub").mkdir()
    target = {"same": source, "dotted": tmp_path / "sub" / ".." / "in.png", "link": tmp_path / "link.png"}[way]
    with pytest.raises(InputError, match="overwritten by its own output"):
        convert_file(source, target, runner)
    assert source.read_bytes() == before


def test_a_preview_never_replaces_the_input(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "out.preview.png")
    with pytest.raises(InputError, match="overwritten by its own output"):
        convert_file(source, tmp_path / "out.exr", runner, ConvertOptions(preview=True))


def test_a_preview_replaces_those_of_earlier_runs_and_no_picture_of_somebody_else(tmp_path, runner, make_picture):
    source, options = make_picture(tmp_path / "in.png"), ConvertOptions(preview=True)
    for level in (51, 102):  # the second time over the first one's
        make_picture(source, level=level)
        report = convert_file(source, tmp_path / "out.exr", runner, options)
    with Image.open(report.preview) as preview:
        assert preview.info["Software"].startswith("dcdr-deploy ")
    before = make_picture(report.preview).read_bytes()
    for target in ("out.exr", "out.hdr"):
        with pytest.raises(InputError, match=r"out\.preview\.png: is a picture that dcdr-deploy has not written"):
            convert_file(source, tmp_path / target, runner, options)
    assert report.preview.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("out.gif", "unknown output format '.gif'"),
        ("out-3.13", "unknown output format '.13'; use one of .*, or .*/out-3.13/ for a folder"),
        ("out", "no suffix"),
        ("in.png/out.exr", "is not a folder"),
        ("x" * 300 + ".exr", "too long"),
    ],
)
def test_a_bad_target_is_refused_before_the_input_is_read(tmp_path, make_picture, monkeypatch, target, sentence):
    source = make_picture(tmp_path / "in.png")
    monkeypatch.setattr("dcdr_deploy.run.picture.read_image", lambda path: pytest.fail("the input was read"))
    with pytest.raises(OutputError, match=sentence):
        PreparedFile(source, tmp_path / target)


def test_a_bad_picture_is_refused_before_a_model_is_loaded(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        PreparedFile(tmp_path / "gone.png", tmp_path / "out.exr")


def test_a_format_that_contradicts_the_suffix_is_refused(tmp_path, make_picture):
    source = make_picture(tmp_path / "in.png")
    with pytest.raises(OutputError, match="contradicts the format exr"):
        PreparedFile(source, tmp_path / "out.hdr", ConvertOptions(format="exr"))
    with pytest.raises(OutputError, match=r"out: is no folder yet; write .*out/ to make one, or .*out\.exr for a file"):
        PreparedFile(source, tmp_path / "out", ConvertOptions(format="exr"))


@pytest.mark.parametrize(("name", "form"), [("out.tiff", "tif"), ("out.JPEG", "jpg"), ("out.TIF", "tiff")])
def test_two_suffixes_of_one_format_do_not_contradict_each_other(tmp_path, runner, make_picture, name, form):
    options = ConvertOptions(format=form)
    assert convert_file(make_picture(tmp_path / "in.png"), tmp_path / name, runner, options).output == tmp_path / name


def test_floats_are_refused_where_the_format_cannot_hold_them(tmp_path, make_picture):
    options = ConvertOptions(WriteOptions(float32=True))
    with pytest.raises(OutputError, match=r"out\.png: \.png has no `float32`; leave it out, or write another format"):
        PreparedFile(make_picture(tmp_path / "in.png"), tmp_path / "out.png", options)


@pytest.mark.parametrize("folder", [False, True])
def test_a_format_is_given_the_source_and_the_light_as_it_writes_it(tmp_path, monkeypatch, runner, folder):
    jobs: list[Job] = []

    def remember(path: Path, job: Job) -> None:
        jobs.append(job)
        path.write_bytes(b"file")

    form = Format((".tst",), "image/test", remember, lambda job: job.scene(1e9), transfers=("pq",))
    monkeypatch.setitem(write._FORMATS, ".tst", form)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (32, 24), (100, 100, 100)).save(tmp_path / "in" / "a.jpg")
    options = ConvertOptions(WriteOptions(light=Light(peak_nits=600)), dials=Dials(exposure=1))
    monkeypatch.setattr("dcdr_deploy.run.outputs.OUTPUT_SUFFIXES", (*write.OUTPUT_SUFFIXES, ".tst"))
    if folder:
        convert_folder(tmp_path / "in", tmp_path / "out", runner, replace(options, format="tst"))
    else:
        convert_file(tmp_path / "in" / "a.jpg", tmp_path / "a.tst", runner, options)
    (job,) = jobs
    assert job.source == tmp_path / "in" / "a.jpg"
    assert (job.light.transfer, job.light.primaries, job.light.peak_nits) == ("pq", "rec2020", 600)
    assert job.largest == 2 * PEAK
    assert job.metadata["peakNits"] == "600"


def test_pq_holds_the_light_of_the_linear_file(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "in.png", level=51)
    linear = convert_file(source, tmp_path / "out.exr", runner, NATIVE)
    absolute = replace(NATIVE, write=WriteOptions(light=Light(transfer="pq", peak_nits=5000)))
    shown = convert_file(source, tmp_path / "out.png", runner, absolute)
    np.testing.assert_allclose(read_hdr(shown.output).pixels, read_hdr(linear.output).pixels, rtol=2e-3, atol=1e-4)
    assert shown.statistics["max"] == pytest.approx(linear.statistics["max"], rel=2e-3)


def test_an_unknown_format_is_refused():
    with pytest.raises(OutputError, match="unknown output format 'gif'; use one of exr, "):
        ConvertOptions(format="gif")


def test_a_model_is_loaded_told_of_and_closed(tmp_path, tiny_model, make_picture, monkeypatch):
    ear = Ear()
    closed = []
    monkeypatch.setattr("dcdr_deploy.engines.onnxruntime.OnnxRuntimeEngine._close", lambda self: closed.append(1))
    with open_runner(tiny_model, ORT, ear) as runner:
        convert_file(make_picture(tmp_path / "in.png"), tmp_path / "out.exr", runner, NATIVE, listener=ear)
    kinds = [ModelChosen, EngineReady, FilesFound, FileBegun, Event, Event, FileConverted]
    assert [type(event) for event in ear.heard] == kinds
    assert ear.of(ModelChosen)[0].choice.path == tiny_model
    assert ear.of(EngineReady)[0].info.backend == "onnxruntime"
    assert ear.of(FileBegun)[0].source.name == "in.png"
    assert ear.of(FileConverted)[0].report.output.name == "out.exr"
    assert ear.steps == [(0, 1), (0, 1), (1, 1)]  # files, then tiles
    assert closed == [1]


def test_settings_reach_the_runner(tmp_path, tiny_model, make_picture):
    settings = RunnerSettings(backend="onnxruntime", tile=64, overlap=4, batch=2)
    source = make_picture(tmp_path / "in.png", size=(100, 100))
    with open_runner(tiny_model, settings) as runner:
        report = convert_file(source, tmp_path / "out.exr", runner, NATIVE)
    assert (report.run.tiles, report.run.overlap, report.run.batch) == (4, 4, 2)


@pytest.mark.parametrize(
    ("settings", "error"),
    [(RunnerSettings(backend="none"), EngineError), (RunnerSettings(backend="onnxruntime", tile=0), InputError)],
)
def test_wrong_settings_leave_no_output(tmp_path, tiny_model, make_picture, settings, error):
    with pytest.raises(error), open_runner(tiny_model, settings) as runner:
        convert_file(make_picture(tmp_path / "in.png"), tmp_path / "out.exr", runner)
    assert not (tmp_path / "out.exr").exists()


def test_nan_from_the_network_names_the_picture(tmp_path, write_tiny_model, make_picture):
    broken = write_tiny_model(tmp_path / "broken.onnx", gain=float("nan"))
    source = make_picture(tmp_path / "in.png")
    with pytest.raises(NonFiniteError, match=r"in\.png: gain net gave NaN"), open_runner(broken, ORT) as runner:
        convert_file(source, tmp_path / "out.exr", runner, NATIVE)
    assert not (tmp_path / "out.exr").exists()


def test_a_model_of_another_architecture_is_refused(tmp_path, write_tiny_model):
    gray = write_tiny_model(tmp_path / "gray.onnx", channels=1)
    words = r"gray\.onnx: input 'sdr' is not float32 \(N, 3, H, W\)"
    with pytest.raises(ModelError, match=words), open_runner(gray):
        pytest.fail("it was loaded")


def test_no_memory_to_encode_is_told_in_one_sentence(tmp_path, runner, make_picture, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("dcdr_deploy.run.picture.write_image", full)
    with pytest.raises(OutputError, match=r"out\.exr: there is no memory to encode it"):
        convert_file(make_picture(tmp_path / "in.png"), tmp_path / "out.exr", runner)


def test_any_file_name_fits_into_a_header(tmp_path, runner, make_picture):
    source = make_picture(tmp_path / "in.png").rename(tmp_path / "line\nbreak\udcff.png")
    convert_file(source, tmp_path / "out.exr", runner)
    assert exr(tmp_path / "out.exr")[1]["source"] == "line?break?.png"


def test_a_preview_lies_beside_its_output():
    assert preview_path(Path("a/b.exr")) == Path("a/b.preview.png")


@pytest.mark.parametrize(("peak", "strength", "told"), [(1.0, 1.0, True), (1.0, 0.0, False), (8.0, 1.0, False)])
def test_a_network_that_ends_at_white_is_told_where_nothing_came_back(tmp_path, peak, strength, told):
    engine = BrightEngine(lambda light: light * (8 / peak))  # a network value of 1 at most
    engine.info = replace(engine.info, metadata=replace(engine.info.metadata, peak=peak))
    Image.new("RGB", (32, 32), "white").save(tmp_path / "in.png")
    options = ConvertOptions(dials=Dials(strength=strength))
    report = convert_file(tmp_path / "in.png", tmp_path / "out.exr", Runner(engine), options)
    assert any("peak of 1 x SDR white" in note for note in report.notes) == told
