"""One video over two actors: segments side by side, and the file of a run of one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("ray") is None or find_spec("fsspec") is None:  # an import would come before what Ray must be told
    pytest.skip("needs ray and fsspec", allow_module_level=True)
pytest.importorskip("av")

from cluster_workers import LOG_NAME, MortalInSegments
from ear import Ear
from videos import Clip, packets, read_clip, write_clip

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.run.events import EngineReady, FileBegun, FileConverted, FilesFound, FramesDone
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.several import Inputs
from dcdr_deploy.run.video.convert import PreparedVideo, convert_video
from dcdr_deploy.run.video.folder import convert_videos, plan_videos
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.target import EncodeOptions
from dcdr_deploy.serving import cluster_folder
from dcdr_deploy.serving.actor_setup import ActorSetup
from dcdr_deploy.serving.cluster_video import convert_video_over_cluster
from dcdr_deploy.serving.layout import ActorOptions
from dcdr_deploy.serving.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
RUNNER = RunnerSettings(backend="onnxruntime")
TWO, ONE = ActorOptions(actors=2, cpus=1), ActorOptions(actors=1, cpus=1)
FRAMES, SEGMENT = 22, 4


def settings(**wishes) -> VideoSettings:
    encode = EncodeOptions("hevc", None, "superfast")
    return VideoSettings(video=VideoOptions(encode, segment_frames=SEGMENT, **wishes))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    clip = Clip(frames=FRAMES, still=frozenset({8, 13}), sounds=2, subtitles=True, chapters=True)
    return write_clip(tmp_path_factory.mktemp("source") / "in.mp4", clip)


@pytest.fixture(scope="module")
def near(source, tiny_model) -> VideoReport:
    """What a run of one machine makes."""
    with load_engine(tiny_model, "onnxruntime") as engine:
        return convert_video(source, source.with_name("near.mp4"), Runner(engine), settings())


@pytest.fixture
def over(ray: Any, tiny_model: Path) -> Callable[..., VideoReport]:
    def run(film: Path, target: Path, wished: VideoSettings, actors: ActorOptions = TWO, **more: Any) -> VideoReport:
        choice = cluster_folder.choose(str(tiny_model), RUNNER)
        prepared = PreparedVideo(film, target, wished)
        setup = ActorSetup(ray, choice, RUNNER, actors, more.pop("worker", Worker))
        return convert_video_over_cluster(setup, prepared, **more)

    return run


def same(there: VideoReport, near: VideoReport) -> None:
    """The same file, and the same is told of it."""
    assert there.output.read_bytes() == near.output.read_bytes()
    plain = {"output": near.output, "seconds": 0.0, "stages": {}, "recovery": None, "device": ""}
    assert replace(there, **plain) == replace(near, **plain)
    assert there.recovery.as_dict() == near.recovery.as_dict()
    assert (there.max_cll, there.max_fall) == (near.max_cll, near.max_fall)
    assert there.stages.keys() == near.stages.keys()


def begun(folder: Path) -> list[int]:
    """Numbers of the segments that actors have begun."""
    lines = [line.split() for line in (folder / LOG_NAME).read_text().splitlines()]
    return sorted(int(number) for _, number, what in lines if what == "begins")


def test_two_actors_give_the_file_of_one_machine(source, near, over, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ear = Ear()
    there = over(source, Path("hdr", "far.mp4"), settings(), listener=ear)
    same(there, near)
    assert there.output == Path("hdr", "far.mp4")
    assert [path.name for path in (tmp_path / "hdr").iterdir()] == ["far.mp4"]
    assert len(read_clip(there.output).stamps) == FRAMES
    assert packets(there.output, "audio") == packets(source, "audio")
    assert len(packets(there.output, "subtitle")) == 1
    assert [len(ear.of(kind)) for kind in (FileBegun, EngineReady, FileConverted)] == [1, 1, 1]
    steps = [(event.done, event.total) for event in ear.of(FramesDone)]
    assert steps[-1] == (FRAMES, FRAMES)
    assert steps == sorted(steps)


def test_the_segment_of_an_actor_that_is_killed_in_it_is_done_again(source, near, over, tmp_path, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.serving.actor_pool._POLL", 0.05)
    ear = Ear()
    there = over(source, tmp_path / "far.mp4", settings(), worker=MortalInSegments, listener=ear)
    same(there, near)
    lines = [line.split() for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    assert begun(tmp_path) == [0, 1, 1, 2, 3, 4, 5]
    killed, again = (process for process, number, what in lines if (number, what) == ("1", "begins"))
    assert killed != again
    inside = 0
    for _, _, what in lines:
        inside += 1 if what == "begins" else -1
        assert inside <= 3  # two actors, and the dead one's
    assert [path.name for path in tmp_path.glob("far*")] == ["far.mp4"]
    assert len({event.done for event in ear.of(FramesDone)}) > -(-FRAMES // SEGMENT)  # within segments, too


DRIVER = """
import sys
from pathlib import Path
import cluster_workers
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions
from dcdr_deploy.serving import cluster_folder
from dcdr_deploy.serving.actor_setup import ActorSetup
from dcdr_deploy.serving.cluster import cluster
from dcdr_deploy.serving.cluster_video import convert_video_over_cluster
from dcdr_deploy.serving.layout import ActorOptions
address, model, source, target = sys.argv[1:]
options = VideoOptions(EncodeOptions("hevc", None, "superfast"), segment_frames=4)
prepared = PreparedVideo(Path(source), Path(target), VideoSettings(video=options))
runner = RunnerSettings(backend="onnxruntime")
Path(target).with_name("mark").touch()  # nobody dies
with cluster(address) as ray:
    ray.cloudpickle.register_pickle_by_value(cluster_workers)
    choice = cluster_folder.choose(model, runner)
    actors = ActorOptions(actors=2, cpus=1)
    setup = ActorSetup(ray, choice, runner, actors, cluster_workers.MortalInSegments)
    convert_video_over_cluster(setup, prepared)
"""


def test_a_driver_that_is_killed_and_started_again_goes_on(source, near, over, tmp_path, ray, tiny_model):
    target = tmp_path / "far.mp4"
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, address, str(tiny_model), str(source), str(target)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "far.mp4.parts"
    while len(list(parts.glob("[0-9]*.json"))) < 2:  # one that is being written has another name
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    there = over(source, target, settings())
    assert there.fresh <= FRAMES - 2 * SEGMENT
    same(replace(there, fresh=near.fresh), near)
    assert not parts.exists()


def test_a_run_that_is_stopped_leaves_what_plays_and_one_machine_goes_on(source, near, over, tmp_path, tiny_model):
    target = tmp_path / "far.mp4"

    def stop(event: Any) -> None:
        if isinstance(event, FramesDone) and (tmp_path / "far.mp4.parts" / "000000.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        over(source, target, settings(), ONE, listener=stop)
    assert len(read_clip(tmp_path / "far.partial.mp4").stamps) % SEGMENT == 0
    assert not target.exists()
    with load_engine(tiny_model, "onnxruntime") as engine:
        here = convert_video(source, target, Runner(engine), settings())
    assert here.fresh <= FRAMES - SEGMENT
    assert target.read_bytes() == near.output.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["far.mp4"]


@pytest.fixture
def damaged(tmp_path) -> Path:
    """Frame 9 cannot be decoded."""
    import av

    film = write_clip(tmp_path / "damaged.mkv", Clip(frames=14, codec="mjpeg", pixels="yuvj420p", options={}))
    content = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        packet = [bytes(each) for each in container.demux(video=0) if each.size][9]
    place = content.find(packet)
    content[place : place + len(packet)] = bytes(len(packet))
    film.write_bytes(content)
    return film


def test_a_frame_that_cannot_be_decoded_ends_the_run_and_may_be_left_out(
    damaged, over, tmp_path, tiny_model, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    film, target = Path("damaged.mkv"), Path("far.mkv")
    with pytest.raises(InputError, match=r"^damaged\.mkv: the frame at 0\.375 s cannot be decoded; `on_error` skip"):
        over(film, target, settings(), ONE)
    assert sorted(path.name for path in Path("far.mkv.parts").glob("*.json")) == ["000000.json", "000001.json"]
    there = over(film, target, settings(on_error="skip"), ONE)
    assert (there.frames, there.fresh) == (13, 13 - 2 * SEGMENT)
    with load_engine(tiny_model, "onnxruntime") as engine:
        here = convert_video(film, Path("near.mkv"), Runner(engine), settings(on_error="skip"))
    same(replace(there, fresh=here.fresh), here)
    assert there.lost == here.lost == (0.375,)


def test_what_an_actor_cannot_write_is_told_as_it_was_named(source, over, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "far.mp4.parts"
    folder.mkdir()
    (folder / "000001.json").mkdir()  # nothing can be put there
    with pytest.raises(OutputError, match=r"^far\.mp4\.parts/000001\.json: cannot be written: Is a directory"):
        over(source, Path("far.mp4"), settings(), ONE)


def test_videos_fewer_than_actors_are_shared_out_with_the_books_of_one_machine(source, near, ray, tmp_path, tiny_model):
    films, far = tmp_path / "films", tmp_path / "far"
    films.mkdir()
    (films / "in.mp4").write_bytes(source.read_bytes())
    wish, plain = settings().video, ConvertOptions()
    choice = cluster_folder.choose(str(tiny_model), RUNNER)

    def run(ear: Ear) -> FolderReport:
        plan = plan_videos(Inputs(folders=[films]), far, wish, plain, "mp4", recursive=False)
        setup = ActorSetup(ray, choice, RUNNER, TWO, MortalInSegments)
        return cluster_folder.convert_over_cluster(setup, plan, far, plain, video=wish, listener=ear)

    ear = Ear()
    assert run(ear).converted == 1
    assert (far / "in.mp4").read_bytes() == near.output.read_bytes()
    assert [len(ear.of(kind)) for kind in (FilesFound, FileBegun, FileConverted)] == [1, 1, 1]
    assert begun(far) == [0, 1, 1, 2, 3, 4, 5]
    (films / "broken.mp4").write_bytes(b"no video at all")
    report = run(Ear())
    assert (report.converted, report.unchanged) == (0, (far / "in.mp4",))
    assert report.failures[0].error.startswith(f"{films}/broken.mp4: cannot be read as a video")
    with load_engine(tiny_model, "onnxruntime") as engine:
        plan = plan_videos(Inputs(folders=[films]), far, wish, plain, "mp4", recursive=False)
        assert convert_videos(plan.jobs, far, Runner(engine), wish, plain).converted == 0


def test_the_command_line_takes_one_video(source, ray, tmp_path, tiny_model):
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "dcdr_deploy", "run", source, "far.mkv", "--ray", address, "--actors", 2]
    command += ["--cpus-per-actor", 1, "-m", tiny_model, "--backend", "onnxruntime", "--preset", "superfast", "--json"]
    done = subprocess.run(
        list(map(str, command)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["output"], told["frames"], told["fresh"]) == ("converted", "far.mkv", FRAMES, FRAMES)
    assert "2 actors on 1 machine\n" in done.stderr
    with load_engine(tiny_model, "onnxruntime") as engine:
        options = VideoOptions(EncodeOptions(None, None, "superfast"))
        here = convert_video(source, tmp_path / "near.mkv", Runner(engine), VideoSettings(video=options))
    assert (tmp_path / "far.mkv").read_bytes() == here.output.read_bytes()
