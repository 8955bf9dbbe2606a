"""Folders over a Ray cluster of this machine, by two actors."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if find_spec("ray") is None or find_spec("fsspec") is None:  # an import would come before what Ray must be told
    pytest.skip("needs ray and fsspec", allow_module_level=True)

from cluster_workers import LOG_NAME, Faulty, Mortal

from dcdr_deploy._version import __version__
from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import EngineError, InputError, OutputError
from dcdr_deploy.run.events import EngineReady, FileConverted, FileFailed, FilesFound
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.jobs import plan_folder
from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.serving import cluster_folder
from dcdr_deploy.serving.actor_setup import ActorSetup
from dcdr_deploy.serving.addresses import Address, address_of
from dcdr_deploy.serving.cluster import _folder, _waiting_longer, import_ray
from dcdr_deploy.serving.layout import ActorOptions
from dcdr_deploy.serving.nodes import _judge, check_nodes, unreachable
from dcdr_deploy.serving.staging import plan_addresses
from dcdr_deploy.serving.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = RunnerSettings(backend="onnxruntime")
TWO, ONE = ActorOptions(actors=2, cpus=1), ActorOptions(actors=1, cpus=1)
MANY = 24


@pytest.fixture
def over(ray: Any, tiny_model: Path) -> Callable[..., FolderReport]:
    """``over(source, target)``: a run over the cluster."""

    def run(source: Any, target: Any, options: ConvertOptions | None = None, **more: Any) -> FolderReport:
        wanted, recursive = options or ConvertOptions(), more.pop("recursive", False)
        if isinstance(source, Address):
            planned = plan_addresses(source, target, wanted, recursive=recursive)
            more["source"] = source
        else:
            planned = plan_folder(source, target, wanted, recursive=recursive)
        choice, actors = cluster_folder.choose(str(tiny_model), SETTINGS), more.pop("actors", TWO)
        setup = ActorSetup(ray, choice, SETTINGS, actors, more.pop("worker", Worker))
        return cluster_folder.convert_over_cluster(setup, planned, target, wanted, **more)

    return run


@pytest.fixture
def on_this_machine(tiny_model: Path) -> Callable[..., FolderReport]:
    def run(source: Path, target: Path, options: ConvertOptions | None = None, **more: Any) -> FolderReport:
        with load_engine(tiny_model, "onnxruntime") as engine:
            return convert_folder(source, target, Runner(engine), options or ConvertOptions(), **more)

    return run


@pytest.fixture
def photos(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for number in range(8):
        make_picture(tmp_path / "photos" / f"{number}.png", level=40 + 25 * number, size=(16, 24))
    make_picture(tmp_path / "photos" / "more" / "a.jpg", level=255)
    make_picture(tmp_path / "photos" / "more" / "a.png", level=250)
    return tmp_path / "photos"


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the manifest, which is in the order of finishing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / MANIFEST_NAME).read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda row: row["output"])


def test_two_actors_give_the_files_and_the_books_of_one_machine(photos, tmp_path, over, on_this_machine):
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\ncut")
    heard: list[Any] = []
    near = ConvertOptions(preview=True, gain_map=tmp_path / "gain_near")
    far = ConvertOptions(preview=True, gain_map=tmp_path / "gain_far")
    here = on_this_machine(photos, tmp_path / "near", near, recursive=True)
    there = over(photos, tmp_path / "far", far, recursive=True, listener=heard.append)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    assert contents(tmp_path / "gain_far") == contents(tmp_path / "gain_near")
    assert len(contents(tmp_path / "far")) == 2 * 10 + 1
    assert rows(tmp_path / "far") == rows(tmp_path / "near")
    assert (there.converted, there.unchanged, len(there.failures)) == (here.converted, (), 1) == (10, (), 1)
    assert there.failures == here.failures
    kinds = Counter(type(event) for event in heard)
    assert (kinds[FilesFound], kinds[EngineReady], kinds[FileConverted], kinds[FileFailed]) == (1, 1, 10, 1)
    (found,) = (event for event in heard if isinstance(event, FilesFound))
    assert found.total == 11
    outputs = {event.report.output for event in heard if isinstance(event, FileConverted)}
    assert tmp_path / "far" / "more" / "a.png.exr" in outputs


def test_a_run_goes_on_where_another_left_off_whoever_began_it(photos, tmp_path, over, on_this_machine):
    over(photos, tmp_path / "hdr")
    assert on_this_machine(photos, tmp_path / "hdr").converted == 0
    (tmp_path / "hdr" / "3.exr").unlink()
    report = over(photos, tmp_path / "hdr")
    assert (report.converted, len(report.unchanged)) == (1, 7)


def test_an_actor_that_is_killed_is_replaced_and_nothing_is_lost_or_twice(
    photos, tmp_path, over, on_this_machine, caplog
):
    (photos / "4.png").rename(photos / "once.png")
    report = over(photos, tmp_path / "far", worker=Mortal)
    assert "an actor crashed or was killed, maybe for want of memory; what it had is done again" in caplog.messages
    assert (report.converted, report.failures) == (8, ())
    on_this_machine(photos, tmp_path / "near")
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    assert rows(tmp_path / "far") == rows(tmp_path / "near")
    begun = [line.split() for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    killed, again = (process for process, name in begun if name == "once.exr")
    assert killed != again


def test_a_picture_that_actors_die_of_costs_one_row(photos, tmp_path, over):
    (photos / "4.png").rename(photos / "deadly.png")
    report = over(photos, tmp_path / "hdr", worker=Mortal)
    assert report.converted == 7
    (row,) = map(json.loads, (tmp_path / "hdr" / "failures.jsonl").read_text().splitlines())
    assert (row["input"], row["kind"]) == (str(photos / "deadly.png"), "EngineError")
    assert "crashed or was killed, twice" in row["error"]
    assert len(rows(tmp_path / "hdr")) == 7


def test_names_are_told_as_they_were_given(photos, tmp_path, over, monkeypatch):
    (photos / "bad.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    heard: list[Any] = []
    report = over(Path("photos"), Path("hdr"), listener=heard.append, actors=ONE)
    assert report.failures[0].error.startswith("photos/bad.png: is no picture")
    assert {str(event.report.output) for event in heard if isinstance(event, FileConverted)} == {
        f"hdr/{number}.exr" for number in range(8)
    }


def test_a_bug_keeps_its_traceback(photos, tmp_path, over):
    with pytest.raises(ZeroDivisionError):
        over(photos, tmp_path / "hdr", worker=Faulty, actors=ONE)


def test_a_model_that_cannot_be_loaded_is_one_sentence(photos, tmp_path, ray, tiny_model):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny_model.read_bytes()[:100])
    planned = plan_folder(photos, tmp_path / "hdr", ConvertOptions(), recursive=False)
    choice = cluster_folder.choose(str(broken), SETTINGS)
    with pytest.raises(Exception, match=r"broken\.onnx") as raised:
        cluster_folder.convert_over_cluster(ActorSetup(ray, choice, SETTINGS, ONE), planned, tmp_path / "hdr")
    assert type(raised.value).__name__ == "ModelError"


def test_an_output_that_cannot_be_written_stops_the_run_after_some(photos, tmp_path, over):
    for number in range(1, 8):
        (tmp_path / "hdr" / f"{number}.exr").mkdir(parents=True)
    with pytest.raises(OutputError, match="stopped after 3 failures in a row"):
        over(photos, tmp_path / "hdr", actors=ONE)


@pytest.fixture
def many(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for number in range(MANY):
        make_picture(tmp_path / "many" / f"{number}.png", level=255, size=(300, 500))
    return tmp_path / "many"


def test_a_driver_that_is_killed_and_started_again_goes_on(many, tmp_path, over, on_this_machine, ray, tiny_model):
    """Over the command line, which joins the cluster by its address."""
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "dcdr_deploy", "run", many, tmp_path / "hdr", "--ray", address]
    command += ["-m", tiny_model, "--backend", "onnxruntime", "--actors", 2, "--cpus-per-actor", 1]
    driver = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    manifest = tmp_path / "hdr" / MANIFEST_NAME
    while not manifest.exists() or len(manifest.read_bytes().splitlines()) < 3:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = len(rows(tmp_path / "hdr"))
    assert before < MANY
    report = over(many, tmp_path / "hdr")
    assert len(report.unchanged) == before
    assert report.converted == MANY - before
    assert [row["output"] for row in rows(tmp_path / "hdr")] == sorted(f"{number}.exr" for number in range(MANY))
    assert on_this_machine(many, tmp_path / "hdr").converted == 0
    assert not list((tmp_path / "hdr").glob(".dcdr-*.probe"))


def test_pictures_at_addresses_give_the_same_files_and_go_on(photos, tmp_path, over, on_this_machine):
    (photos / "bad.png").write_bytes(b"no picture")
    source, target = address_of(photos), address_of(tmp_path / "far")
    report = over(source, target, ConvertOptions(preview=True), recursive=True, actors=ONE)
    on_this_machine(photos, tmp_path / "near", ConvertOptions(preview=True), recursive=True)
    far, near = contents(tmp_path / "far"), contents(tmp_path / "near")
    assert json.loads(far.pop("failures.jsonl")) == {
        "input": f"{source}/bad.png",
        "error": json.loads(near.pop("failures.jsonl"))["error"].replace(str(photos), str(source)),
        "kind": "InputError",
    }
    assert far == near
    assert str(report.failures_file) == f"{target}/failures.jsonl"
    assert rows(tmp_path / "far")[0]["input"] == f"{source}/0.png"
    (photos / "bad.png").unlink()
    os.utime(photos / "2.png", ns=(1, 1))
    again = over(source, target, ConvertOptions(preview=True), recursive=True, actors=ONE)
    assert (again.converted, len(again.unchanged), again.failures_file) == (1, 9, None)
    assert not (tmp_path / "far" / "failures.jsonl").exists()


def test_videos_go_one_to_an_actor_with_the_books_of_one_machine(tmp_path, ray, tiny_model):
    pytest.importorskip("av")
    from videos import Clip, write_clip

    from dcdr_deploy.run.several import Inputs
    from dcdr_deploy.run.video.folder import convert_videos, plan_videos
    from dcdr_deploy.run.video.options import VideoOptions
    from dcdr_deploy.run.video.target import EncodeOptions

    films, wish, plain = tmp_path / "films", VideoOptions(EncodeOptions("ffv1")), ConvertOptions()
    films.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(films / name, Clip(frames=2))
    (films / "broken.mp4").write_bytes(b"no video at all")
    far, near = tmp_path / "far", tmp_path / "near"
    plans = {to: plan_videos(Inputs(folders=[films]), to, wish, plain, None, recursive=False) for to in (far, near)}
    choice = cluster_folder.choose(str(tiny_model), SETTINGS)
    report = cluster_folder.convert_over_cluster(
        ActorSetup(ray, choice, SETTINGS, TWO), plans[far], far, plain, video=wish
    )
    assert (report.converted, len(report.failures)) == (2, 1)
    with load_engine(tiny_model, "onnxruntime") as engine:
        assert convert_videos(plans[far].jobs, far, Runner(engine), wish, plain).converted == 0
        convert_videos(plans[near].jobs, near, Runner(engine), wish, plain)
    for name in ("a.mkv", "b.mkv"):
        assert frames_of(far / name) == frames_of(near / name)


def frames_of(film: Path) -> list[bytes]:
    import av

    with av.open(str(film)) as container:
        return [bytes(plane) for frame in container.decode(video=0) for plane in frame.planes]


def test_every_machine_is_asked_whether_it_reaches_the_files(ray, tmp_path):
    with pytest.raises(InputError, match=r"^\S+: /no/such/folder is not there; mount it at the same place") as raised:
        check_nodes(ray, [], [Path("/no/such/folder")], [tmp_path])
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    check_nodes(ray, [], [tmp_path], [tmp_path])


def test_a_machine_with_another_version_is_told_apart(ray, tmp_path, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.serving.nodes.__version__", "99")
    with pytest.raises(InputError, match=f"has dcdr-deploy {__version__}, not 99 as here"):
        check_nodes(ray, [], [tmp_path], [tmp_path])


def test_a_machine_that_does_not_answer_in_time_is_not_told_to_install_anything():
    exceptions = import_ray("local").exceptions

    class Busy:
        def get(self, answer: object, timeout: float) -> None:
            raise exceptions.GetTimeoutError("Get timed out: some object(s) not ready.")

    Busy.exceptions = exceptions
    with pytest.raises(
        InputError, match=r"^10.0.0.2: this machine of the cluster has not answered for 180 s.*try again"
    ):
        _judge(Busy(), "10.0.0.2", None)


def test_what_a_machine_lacks_is_told(tmp_path):
    (tmp_path / "probe").write_text("another")
    assert unreachable([], [str(tmp_path)], []) == ""
    assert "cannot be read" in unreachable([str(tmp_path / "gone.png")], [], [])
    assert "is another folder there" in unreachable([], [], [(str(tmp_path / "probe"), "mine")])
    assert "is another folder there" in unreachable([], [], [(str(tmp_path / "gone"), "mine")])
    assert unreachable([], [], [(str(tmp_path / "probe"), "another")]) == ""


def test_an_address_that_a_machine_may_not_read_is_not_to_be_mounted(monkeypatch):
    assert "memory://none is another folder there" in unreachable([], [], [("memory://none/probe", "mine")])

    def forbidden(*_, **__):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem._open", forbidden)
    said = "memory://a{} cannot be read ([Errno 13] Forbidden); give this machine access to it"
    assert unreachable(["memory://a/b.png"], [], []) == said.format("/b.png")
    assert unreachable([], [], [("memory://a/probe", "mine")]) == said.format("")
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: 1 / 0)
    assert "cannot be used (division by zero)); give this machine" in unreachable(["memory://a/b.png"], [], [])


class Starting:
    """Ray's module: a node that reports itself when it has been asked for ``asks`` times, and may end before."""

    def __init__(self, asks: float, ended: int | None = None) -> None:
        self.asks, self.ended = asks, ended

    def start_raylet(self) -> SimpleNamespace:
        return SimpleNamespace(process=SimpleNamespace(poll=lambda: self.ended))

    def get_node(self, name: str) -> str:
        self.asks -= 1
        if self.asks > 0:
            raise RuntimeError("no such node")
        return name


def test_a_cluster_that_is_slow_to_start_is_waited_for_and_one_that_has_ended_is_not(monkeypatch):
    slow = Starting(asks=4)
    with _waiting_longer(slow):
        slow.start_raylet()
        assert slow.get_node("node") == "node"
    with pytest.raises(RuntimeError):
        Starting(asks=4).get_node("node")  # without waiting: the stand-in does as Ray does

    ended = Starting(asks=4, ended=1)
    with _waiting_longer(ended):
        ended.start_raylet()
        with pytest.raises(RuntimeError):
            ended.get_node("node")
    assert ended.asks == 3

    monkeypatch.setattr("dcdr_deploy.serving.cluster.START_SECONDS", 0.3)
    never = Starting(asks=math.inf)
    with _waiting_longer(never):
        never.start_raylet()
        with pytest.raises(RuntimeError):
            never.get_node("node")
    assert never.get_node.__self__ is never, "Ray's own is back"


def test_ray_has_what_a_slow_start_is_waited_for_by(ray):
    from ray._private import services

    assert {"start_raylet", "get_node"} <= set(vars(services))
    source = inspect.getsource(sys.modules["ray._private.node"].Node)
    assert "ray._private.services.get_node(" in source
    assert "ray._private.services.start_raylet(" in source


def test_ray_reports_nothing_and_strangers_are_not_let_in(ray):
    from ray._common.usage.usage_lib import usage_stats_enabled

    assert not usage_stats_enabled()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    code = f"import ray; ray.init(address={ray.get_runtime_context().gcs_address!r})"
    stranger = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert stranger.stderr is not None
        assert any("InvalidAuthToken" in line for line in stranger.stderr)  # it goes on trying
    finally:
        stranger.kill()
        stranger.communicate()


def test_a_pool_whose_actors_all_die_says_so(ray, tmp_path, tiny_model, monkeypatch):
    from dcdr_deploy.serving.actor_pool import ActorPool
    from dcdr_deploy.serving.layout import Layout

    monkeypatch.setattr("dcdr_deploy.serving.actor_pool.DEATHS_IN_A_ROW", 1)
    layout = Layout(1, 1, 0, 1, SETTINGS)
    from dcdr_deploy.run.jobs import Job

    deadly = Job(tmp_path / "in" / "deadly.png", tmp_path / "deadly.exr", "deadly.exr")
    deadly.source.parent.mkdir()
    with ActorPool(ray, layout, (str(tiny_model), SETTINGS, ConvertOptions()), Mortal) as pool:
        pool.first()
        with pytest.raises(EngineError, match="all actors died, the last one of this: "):
            pool.run(iter([deadly]), lambda job, result: None, lambda ready: None)


KILLED = """
import os, signal
from dcdr_deploy.serving.cluster import cluster
with cluster("local", 1) as ray:
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_the_folder_of_a_cluster_whose_process_was_killed_goes_with_the_next_one():
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    session = Path(done.stdout.strip())
    assert (done.returncode, session.is_dir()) == (-signal.SIGKILL, True)
    with _folder() as folder:
        assert folder.is_dir()
        assert not session.exists()
