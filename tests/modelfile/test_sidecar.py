"""The sidecar of an engine: what is written is read; what was changed, or belongs to another engine, is refused."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import ModelError, OutputError
from dcdr_deploy.modelfile import metadata
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.sidecar import (
    Sidecar,
    _checksum,
    atomic_pair,
    check_fit,
    encode,
    mark_verified,
    read_sidecar,
    sidecar_path,
    write,
)
from dcdr_deploy.run.selection import read_fitting_sidecar
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import file_sha256

METADATA = ModelMetadata(peak=8.0, size_multiple=4, overlap=12, name="test net", extra={"training": '{"ä": 1}'})


def facts(engine: Path, **changed: object) -> Sidecar:
    given = Sidecar(
        package="tensorrt-rtx",
        package_version="1.7.1.116",
        sms=(86, 120),
        precision="fp16",
        min_shape=(1, 64, 64),
        opt_shape=(2, 64, 96),
        max_shape=(2, 96, 96),
        onnx_sha256="ab" * 32,
        engine_sha256=file_sha256(engine),
        metadata=metadata.encode(METADATA),
        plugin="dcdr::DCRB",
        plugin_version="1",
        plugin_layers=8,
        kernel_hash="cd" * 32,
        tool_version="0.1.0",
    )
    return replace(given, **changed)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine file with its sidecar; the bytes stand for what a package wrote."""
    path = tmp_path / "model.fp16.sm86-120.engine"
    path.write_bytes(bytes(range(256)) * 8)
    write(path, facts(path))
    return path


def test_the_sidecar_lies_beside_the_engine_and_is_json(engine):
    path = sidecar_path(engine)
    assert path.name == "model.fp16.sm86-120.engine.json"
    assert json.loads(path.read_text(encoding="utf-8"))["sms"] == [86, 120]
    assert sorted(engine.parent.iterdir()) == [engine, path]


def test_what_is_written_is_read(engine):
    found = read_sidecar(engine)
    assert found == facts(engine)
    assert found.model_metadata("x") == METADATA
    assert (found.fixed_size, found.max_batch) == (None, 2)


def test_an_engine_of_one_size_says_so(engine):
    assert facts(engine, min_shape=(1, 64, 96), max_shape=(4, 64, 96)).fixed_size == (64, 96)


def test_a_comparison_that_passed_is_noted(engine):
    passed = mark_verified(engine, read_sidecar(engine), {"psnr": 61.5})
    assert read_sidecar(engine) == passed
    assert (passed.verified, passed.gate) == (True, {"psnr": 61.5})


def edit(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda engine, side: engine.unlink(), "does not exist"),
        (lambda engine, side: side.unlink(), r"has no sidecar model\.fp16\.sm86-120\.engine\.json beside it"),
        (lambda engine, side: side.write_bytes(b""), "is damaged"),
        (lambda engine, side: side.write_bytes(b"\xff{}"), "is damaged"),
        (lambda engine, side: side.write_text(side.read_text()[:-20]), "is damaged"),
        (lambda engine, side: side.write_text("[" * 100_000), "is damaged"),
        (lambda engine, side: side.write_text("[]"), "is no sidecar of an engine"),
        (lambda engine, side: side.write_text('{"format": "1"}'), "is no sidecar of an engine"),
        (lambda engine, side: edit(side, format=2), r"newer dcdr-deploy \(layout 2\)"),
        (lambda engine, side: edit(side, sms=[75]), "was edited or damaged"),
        (lambda engine, side: edit(side, verified=True), "was edited or damaged"),
        (lambda engine, side: edit(side, more=1), "was edited or damaged"),
        (lambda engine, side: edit(side, checksum=None), "was edited or damaged"),
        (lambda engine, side: engine.write_bytes(b"\x01" + engine.read_bytes()[1:]), "is not the file that"),
        (lambda engine, side: engine.write_bytes(engine.read_bytes()[:-1]), "is not the file that"),
        (lambda engine, side: (side.unlink(), side.mkdir()), "cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(engine, damage, sentence):
    damage(engine, sidecar_path(engine))
    with pytest.raises(ModelError, match=sentence) as caught:
        read_sidecar(engine)
    assert "\n" not in str(caught.value)
    assert str(engine) in str(caught.value)


def test_no_depth_of_lists_ends_in_another_error(engine):
    deepest = sys.getrecursionlimit() - len(inspect.stack(0))
    for depth in range(deepest - 30, deepest):  # somewhere there JSON can still be read, and not be written
        sidecar_path(engine).write_text('{"format": 1, "more": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(ModelError, match=r"is damaged|was edited or damaged"):
            read_sidecar(engine)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_believed(tmp_path_factory, place, bit):
    engine = tmp_path_factory.getbasetemp() / "flip.engine"
    engine.write_bytes(b"engine")
    told = facts(engine)
    text = bytearray(encode(told).encode())
    text[place % len(text)] ^= 1 << bit
    sidecar_path(engine).write_bytes(text)
    try:
        assert read_sidecar(engine) == told  # white space
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(
    ("sm", "version", "sentence"),
    [
        (None, "1.7.1.116", r"needs an NVIDIA GPU \(SM86, SM120\), and this machine has none"),
        (89, "1.7.1.116", r"is for SM86, SM120, but this GPU is SM89; .*build-engine` --sm 89"),
        (86, "1.8.0.1", r"was built with tensorrt-rtx 1\.7\.1\.116, but 1\.8\.0\.1 is installed; build it again"),
        (86, None, r"needs tensorrt-rtx 1\.7\.1\.116, which is not installed"),
    ],
)
def test_an_engine_for_another_machine_says_for_which(engine, sm, version, sentence):
    with pytest.raises(ModelError, match=sentence):
        check_fit(engine, read_sidecar(engine), sm, version)


def test_an_engine_for_this_gpu_and_version_fits(engine, monkeypatch):
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: [75, 120])
    monkeypatch.setattr(trt_api, "version", lambda name: "1.7.1.116")
    assert read_fitting_sidecar(engine, 1) == facts(engine)
    with pytest.raises(ModelError, match="this GPU is SM75"):
        read_fitting_sidecar(engine, 0)


def test_an_engine_of_an_unknown_package_is_refused(engine):
    write(engine, facts(engine, package="other"))
    with pytest.raises(ModelError, match="built with other"):
        read_fitting_sidecar(engine, 0)


def rebuild(engine: Path, content: bytes) -> Sidecar:
    with atomic_pair(engine) as temporary:
        temporary.write_bytes(content)
        new = facts(temporary)
        write(temporary, new)
    return new


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("sms", 5),
        ("sms", []),
        ("sms", ["86"]),
        ("sms", [True]),
        ("min_shape", [1, 64]),
        ("opt_shape", None),
        ("max_shape", [1, 2**40, 2**40]),
        ("max_shape", [1, 64.5, 64]),
        ("metadata", 1),
        ("metadata", {"dcdr.peak": 8}),
        ("package", ["tensorrt"]),
        ("gate", {"psnr": "high"}),
        ("gate", {"psnr": float("nan")}),
        ("workspace", float("inf")),
        ("verified", "yes"),
        ("plugin_layers", -1),
        ("format", 0),
        ("engine_sha256", {"deep": [1] * 1000}),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_by_name_though_the_checksum_is_right(engine, entry, value):
    data = json.loads(sidecar_path(engine).read_text(encoding="utf-8"))
    del data["checksum"]
    data[entry] = value
    sidecar_path(engine).write_text(json.dumps({**data, "checksum": _checksum(data)}), encoding="utf-8")
    with pytest.raises(ModelError, match=f"has {entry} = .*; build it again") as caught:
        read_sidecar(engine)
    assert len(str(caught.value)) < len(str(engine)) + 200


def test_a_pair_gets_its_names_together(tmp_path):
    engine = tmp_path / "new" / "a.engine"
    assert rebuild(engine, b"one") == read_sidecar(engine)
    assert rebuild(engine, b"two") == read_sidecar(engine)
    assert names(engine.parent) == ["a.engine", "a.engine.json"]


def fail_half_way(engine: Path, error: type[BaseException]) -> None:
    with atomic_pair(engine) as temporary:
        temporary.write_bytes(b"half")
        write(temporary, facts(temporary))
        raise error


@pytest.mark.parametrize("error", [OutputError, KeyboardInterrupt, RuntimeError])
def test_an_older_pair_outlives_a_build_that_failed(engine, error):
    before = read_sidecar(engine)
    with pytest.raises(error):
        fail_half_way(engine, error)
    assert read_sidecar(engine) == before
    assert names(engine.parent) == [engine.name, engine.name + ".json"]


@pytest.mark.parametrize("older", [True, False])
def test_a_rename_that_fails_leaves_no_mixed_pair(engine, monkeypatch, older):
    """As on Windows, where an engine that is loaded cannot be replaced."""
    before = read_sidecar(engine)
    target = engine if older else engine.with_name("fresh.engine")
    replace_file = Path.replace

    def refuse(self: Path, other: Path) -> Path:
        if Path(other) == target:
            raise PermissionError(13, "in use")
        return replace_file(self, other)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="in use"):
        rebuild(target, b"new")
    assert read_sidecar(engine) == before
    assert names(engine.parent) == [engine.name, engine.name + ".json"]


def test_a_power_cut_between_the_renames_leaves_a_pair_that_is_refused(engine):
    other = engine.with_name("other.engine")
    rebuild(other, b"other")
    sidecar_path(other).replace(sidecar_path(engine))
    with pytest.raises(ModelError, match="is not the file that"):
        read_sidecar(engine)
    rebuild(engine, b"again")
    assert read_sidecar(engine)


@pytest.mark.parametrize("place", ["model.engine", "model.engine.json"])
def test_a_folder_in_the_way_is_found_before_the_build(tmp_path, place):
    (tmp_path / place).mkdir()
    with pytest.raises(OutputError, match="a folder has this name"), atomic_pair(tmp_path / "model.engine"):
        pytest.fail("the build began")


def test_a_folder_that_cannot_be_written_is_found_before_the_build():
    folder = Path("/proc")  # refuses root as well
    if not folder.is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(OutputError, match="cannot be written"), atomic_pair(folder / "model.engine"):
        pytest.fail("the build began")
