"""Segments that are computed apart, in any order and by anybody, give the file of a run from beginning to end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from videos import Clip, write_clip

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.convert import Computed, PreparedVideo, convert_video
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import Network, VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segment_jobs import SegmentJob, Survey, compute_segment
from dcdr_deploy.run.video.segments import shared
from dcdr_deploy.run.video.source import VideoSource
from dcdr_deploy.run.video.target import EncodeOptions

FRAMES, SEGMENT = 14, 4
LATE = (0, 1, 2, 5, 6, 10, 11, 12, 13, 14, 15, 20, 21, 22)
"""Stamps that are not regular."""


def settings(codec="hevc", **wishes) -> VideoSettings:
    preset = {"hevc": "superfast", "av1": "12"}.get(codec)
    return VideoSettings(video=VideoOptions(EncodeOptions(codec, None, preset), segment_frames=SEGMENT, **wishes))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Key frames every five frames, B-frames, repetitions within a segment and at its beginning, sound."""
    options = {"preset": "ultrafast", "qp": "4", "bf": "2", "g": "5"}
    clip = Clip(frames=FRAMES, still=frozenset({4, 9}), sounds=1, chapters=True, options=options, stamps=LATE)
    return write_clip(tmp_path_factory.mktemp("source") / "in.mp4", clip)


@pytest.fixture
def damaged(tmp_path) -> Path:
    """Every frame a key frame, in MJPEG; frames 5 and 9 cannot be decoded."""
    import av

    film = write_clip(tmp_path / "damaged.mkv", Clip(frames=FRAMES, codec="mjpeg", pixels="yuvj420p", options={}))
    content = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in (5, 9):
        place = content.find(packets[number])
        content[place : place + len(packets[number])] = bytes(len(packets[number]))
    film.write_bytes(content)
    return film


def missing(prepared: PreparedVideo, runner: Runner) -> list[SegmentJob]:
    """The segments that a survey finds to be computed."""
    with prepared.opened(Network.of(runner)) as place, open_video(prepared.info.path) as video:
        return list(Survey(prepared, video, prepared.place_key(Network.of(runner)), place.whole).jobs())


def computed_apart(film: Path, target: Path, runner: Runner, wishes: VideoSettings, order=reversed) -> VideoReport:
    prepared = PreparedVideo(film, target, wishes)
    network = Network.of(runner)
    with ExitStack() as stack:
        place = stack.enter_context(prepared.opened(network))
        video = stack.enter_context(open_video(film))
        survey = Survey(prepared, video, prepared.place_key(network), place.whole)
        fresh = 0
        for job in order(list(survey.jobs())):
            place.add(compute_segment(job, PreparedVideo(film, target, job.settings), runner).segment)
            fresh += job.frames
        trailing = () if survey.selection is None else survey.selection.trailing
        return prepared.finish(
            place, runner.engine.info, Computed(fresh, {}, trailing), time.perf_counter(), lambda event: None
        )


def same(here: VideoReport, there: VideoReport) -> None:
    """All but what names and times them is the same."""
    plain = {"output": here.output, "seconds": 0.0, "stages": {}, "recovery": None}
    assert here.recovery.as_dict() == there.recovery.as_dict()
    assert replace(here, **plain) == replace(there, **plain)
    assert here.output.read_bytes() == there.output.read_bytes()


@pytest.mark.parametrize(
    ("name", "codec"), [("o.mp4", "hevc"), ("o.mkv", "hevc"), ("o.mp4", "av1"), ("o.mov", "prores"), ("o.mkv", "ffv1")]
)
def test_whatever_their_order_the_file_is_the_same(source, runner, tmp_path, name, codec):
    (tmp_path / "far").mkdir()
    there = computed_apart(source, tmp_path / "far" / name, runner, settings(codec))
    same(there, convert_video(source, tmp_path / name, runner, settings(codec)))
    assert there.frames == there.fresh == FRAMES
    assert list((tmp_path / "far").iterdir()) == [tmp_path / "far" / name]


@pytest.mark.parametrize(
    "wishes",
    [{"temporal": 0.0}, {"temporal": 0.95}, {"start": 3 / 24, "frames": 9}, {"frames": 8}, {"end": 6 / 24}],
    ids=lambda wishes: "-".join(wishes),
)
def test_that_holds_for_parts_and_however_frames_are_steadied(source, runner, tmp_path, wishes):
    there = computed_apart(source, tmp_path / "far.mkv", runner, settings(**wishes))
    same(there, convert_video(source, tmp_path / "near.mkv", runner, settings(**wishes)))


@pytest.mark.parametrize("on_error", ["skip", "repeat"])
def test_frames_that_cannot_be_decoded_are_the_same_ones(damaged, runner, tmp_path, on_error):
    there = computed_apart(damaged, tmp_path / "far.mkv", runner, settings(on_error=on_error))
    same(there, convert_video(damaged, tmp_path / "near.mkv", runner, settings(on_error=on_error)))
    assert there.lost == (pytest.approx(5 / 24, abs=1e-3), pytest.approx(9 / 24, abs=1e-3))
    assert there.frames == (FRAMES if on_error == "repeat" else FRAMES - 2)


def test_a_frame_that_ends_the_run_leaves_the_segments_before_it(damaged, runner, tmp_path):
    prepared = PreparedVideo(damaged, tmp_path / "o.mkv", settings())
    with open_video(damaged) as video:
        jobs = Survey(prepared, video, "key", {}).jobs()
        assert next(jobs).number == 0
        with pytest.raises(InputError, match=r"the frame at 0\.208 s cannot be decoded"):
            next(jobs)


def kept(film: Path, target: Path, runner: Runner, wishes: VideoSettings, numbers: set[int]) -> None:
    """Compute some segments, as a run does that is killed."""
    prepared = PreparedVideo(film, target, wishes)
    jobs = missing(prepared, runner)
    target.with_name(f"{target.name}.parts").mkdir(exist_ok=True)
    for job in jobs:
        if job.number in numbers:
            compute_segment(job, PreparedVideo(film, target, job.settings), runner)


@pytest.mark.parametrize("numbers", [{0}, {1}, {0, 2}, {1, 3}, {3}, {0, 1, 2, 3}], ids=str)
def test_what_is_whole_is_kept_wherever_the_gaps_are(source, runner, tmp_path, numbers):
    target = tmp_path / "far.mp4"
    kept(source, target, runner, settings(), numbers)
    assert {job.number for job in missing(PreparedVideo(source, target, settings()), runner)} == {0, 1, 2, 3} - numbers
    there = computed_apart(source, target, runner, settings())
    assert there.fresh == FRAMES - sum(2 if number == 3 else SEGMENT for number in numbers)
    here = convert_video(source, tmp_path / "near.mp4", runner, settings())
    assert there.output.read_bytes() == here.output.read_bytes()


def test_a_run_of_one_machine_goes_on_from_the_first_ones(source, runner, tmp_path):
    kept(source, tmp_path / "o.mp4", runner, settings(), {0, 1, 3})
    report = convert_video(source, tmp_path / "o.mp4", runner, settings())
    assert report.fresh == FRAMES - 2 * SEGMENT
    expected = convert_video(source, tmp_path / "near.mp4", runner, settings()).output.read_bytes()
    assert report.output.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["near.mp4", "o.mp4"]


def test_segments_that_begin_elsewhere_since_lost_frames_are_repeated_are_computed_again(damaged, runner, tmp_path):
    target = tmp_path / "far.mkv"
    kept(damaged, target, runner, settings(on_error="skip"), {0, 2})  # the third begins with frame 9 or 10
    again = settings(on_error="repeat")
    assert [job.number for job in missing(PreparedVideo(damaged, target, again), runner)] == [1, 2, 3]
    same(
        replace(computed_apart(damaged, target, runner, again), fresh=FRAMES),
        convert_video(damaged, tmp_path / "near.mkv", runner, again),
    )


def test_two_who_compute_the_same_segment_do_not_harm_each_other(source, runner, tmp_path):
    """As where an actor is taken for dead and is not."""
    prepared = PreparedVideo(source, tmp_path / "o.mp4", settings())
    key = prepared.place_key(Network.of(runner))
    with prepared.opened(Network.of(runner)) as place, open_video(source) as video:
        job = next(iter(Survey(prepared, video, key, {}).jobs()))
        with shared(job.output, key) as slow:
            torn = slow.begin_segment(0, job.after)
            torn.add(0, b"some of it", is_key=True)
            done = compute_segment(job, prepared, runner).segment
            torn.add(1, b"more of it", is_key=False)
            torn.close()
        place.add(done)
        assert b"".join(data for _, data, _ in place.packets(done))[:10] != b"some of it"
        assert sum(len(data) for _, data, _ in place.packets(done)) == sum(size for _, size, _ in done.packets)
    with prepared.opened(Network.of(runner)) as place:
        assert [segment.as_json() for segment in place.segments] == [done.as_json()]


def test_a_segment_that_its_maker_has_not_told_when_the_run_ends_is_not_lost(source, runner, tmp_path):
    prepared = PreparedVideo(source, tmp_path / "o.mp4", settings())
    network = Network.of(runner)
    with prepared.opened(network) as place, open_video(source) as video:
        job = next(iter(Survey(prepared, video, prepared.place_key(network), {}).jobs()))
        done = compute_segment(job, prepared, runner).segment
        assert not place.whole
    with prepared.opened(network) as place:
        assert [segment.as_json() for segment in place.segments] == [done.as_json()]


def test_another_source_is_refused(source, runner, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(source.read_bytes())
    prepared = PreparedVideo(film, tmp_path / "o.mp4", settings())
    (job, *_) = missing(prepared, runner)
    write_clip(film, Clip(frames=FRAMES))
    with pytest.raises(InputError, match=r"film\.mp4: is another file here"):
        compute_segment(job, prepared, runner)


def test_frames_that_come_out_otherwise_are_read_from_the_files_beginning(source, runner, tmp_path, monkeypatch):
    """A decoder that is entered at a key frame and gives other pictures after the one by which it is found again."""
    kept(source, tmp_path / "o.mp4", runner, settings(), {0})
    job = missing(PreparedVideo(source, tmp_path / "o.mp4", settings()), runner)[1]
    own, asked = VideoSource._from, []

    def from_key_frame(self, stamp, own=own):
        frames = own(self, stamp)
        asked.append(self._enters)
        for frame in frames:
            late = self._enters and stamp is not None and frame.stamp is not None and frame.stamp > stamp + 1
            yield replace(frame, checksum=frame.checksum ^ 1) if late else frame

    with monkeypatch.context() as patched:
        patched.setattr(VideoSource, "_from", from_key_frame)
        done = compute_segment(job, PreparedVideo(source, job.output, job.settings), runner)
    assert asked == [True, False]
    assert done.segment.reached.frames == 12
    with pytest.raises(InputError, match="decoded otherwise than before; have the same version of PyAV"):
        compute_segment(
            replace(job, digest=job.digest ^ 1),
            PreparedVideo(source, job.output, job.settings),
            runner,
        )


def test_an_output_folder_that_is_gone_is_one_line(source, runner, tmp_path):
    prepared = PreparedVideo(source, tmp_path / "o.mp4", settings())
    (job, *_) = missing(prepared, runner)
    with pytest.raises(OutputError, match=r"o\.mp4\.parts: was deleted, moved or unmounted during the run"):
        compute_segment(job, prepared, runner)
