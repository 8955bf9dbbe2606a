"""What the service answers."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import EngineError, EngineOutOfMemory
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES, media_type
from dcdr_deploy.run.file import convert_file
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.serving.http import REPORT_HEADER, make_app
from dcdr_deploy.serving.service import AT_ONCE, FAILURES_IN_A_ROW, Limits, Service


@pytest.fixture
def client(open_service) -> TestClient:
    return TestClient(make_app(open_service()))


@pytest.fixture
def real(tiny_model, tmp_path) -> Iterator[tuple[Runner, TestClient]]:
    with load_engine(tiny_model, "onnxruntime") as engine, Service(Runner(engine), Limits()) as service:
        yield Runner(engine), TestClient(make_app(service))


def wait_until(holds, seconds=10.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.mark.parametrize("query", ["", "?format=hdr&strength=0.5&scale=1/2", "?format=tif&wrap=true&protect_below=200"])
def test_a_picture_gives_what_run_writes(real, picture, tmp_path, query):
    from fractions import Fraction

    from dcdr_deploy.run.dials import Dials
    from dcdr_deploy.run.outputs import ConvertOptions

    runner, client = real
    answer = client.post(f"/restore{query}", content=picture)
    assert answer.status_code == 200, answer.text
    options = {
        "": ConvertOptions(format="exr"),
        "?format=hdr&strength=0.5&scale=1/2": ConvertOptions(
            format="hdr", dials=Dials(strength=0.5), scale=Fraction(1, 2)
        ),
        "?format=tif&wrap=true&protect_below=200": ConvertOptions(
            format="tif", wrap=True, dials=Dials(protect_below=200)
        ),
    }[query]
    source, target = tmp_path / "picture", tmp_path / f"by_run{options.suffix}"
    source.write_bytes(picture)
    report = convert_file(source, target, runner, options)
    assert answer.content == target.read_bytes()
    told = json.loads(answer.headers[REPORT_HEADER])
    assert (told["width"], told["height"], told["clipped_share"]) == (32, 24, 0.5)
    assert told["statistics"] == report.statistics


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_every_output_format_has_a_media_type(client, picture, suffix):
    answer = client.post(f"/restore?format={suffix[1:]}", content=picture)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type(f"a{suffix}")
    assert answer.headers["content-type"].startswith("image/")
    assert answer.headers["content-disposition"] == f'attachment; filename="restored{suffix}"'


def test_the_answer_is_an_hdr_picture_that_another_reader_takes(client, picture, tmp_path):
    (tmp_path / "a.exr").write_bytes(client.post("/restore", content=picture).content)
    assert read_hdr(tmp_path / "a.exr").pixels.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("query", "body", "status", "sentence"),
    [
        ("", b"", 400, "picture: is empty (zero bytes); copy or export it again"),
        ("", b"no picture at all", 400, "picture: is no picture by its content"),
        ("", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, 400, "picture: is damaged"),
        ("?format=gif", None, 400, "unknown output format 'gif'"),
        ("?format=../../x.exr", None, 400, "unknown output format"),
        ("?strength=9", None, 400, "strength must be 0 to 2, not 9"),
        ("?scale=huge", None, 400, "scale 'huge' is not known"),
        ("?strength=much", None, 400, "strength: Input should be a valid number"),
        ("?source=/etc/passwd", None, 400, "source is not known; the query takes format, scale,"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(client, picture, query, body, status, sentence):
    answer = client.post(f"/restore{query}", content=picture if body is None else body)
    assert answer.status_code == status
    (told,) = answer.json().values()
    assert told.startswith(sentence)
    assert "\n" not in told
    assert "/tmp" not in answer.text


def test_a_format_whose_package_is_missing_is_told_without_a_path(client, picture, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.imaging.writers.base.installed", lambda module: False)
    answer = client.post("/restore?format=jxl", content=picture)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("result.jxl: .jxl needs the package imagecodecs; pip install ")


@pytest.mark.parametrize(
    ("method", "route", "status"), [("GET", "/", 404), ("GET", "/restore", 405), ("PUT", "/health", 405)]
)
def test_what_there_is_no_route_for_is_an_error_like_all_others(client, method, route, status):
    answer = client.request(method, route)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(f"{method} {route}: ")
    assert "POST /restore" in answer.json()["error"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("route", ["/health", "/metrics"])
def test_a_look_at_the_head_is_enough_for_a_watcher(client, route):
    answer = client.head(route)
    assert (answer.status_code, answer.headers["content-type"]) == (200, client.get(route).headers["content-type"])


def test_a_form_is_refused(client, picture):
    answer = client.post("/restore", files={"file": ("photo.png", picture)})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["error"]


@pytest.mark.parametrize("pieces", [False, True], ids=["announced", "in pieces"])
def test_a_body_beyond_the_limit_is_refused(open_service, picture, pieces):
    service = open_service(max_megabytes=0.001)
    client = TestClient(make_app(service))
    body = picture + bytes(2000)
    answer = client.post("/restore", content=iter([body[:600], body[600:]]) if pieces else body)
    assert (answer.status_code, answer.json()) == (413, {"error": "the picture has more than 1,000 bytes"})
    assert service.taken == 0


def test_a_small_file_of_many_pixels_is_refused_by_its_header(client):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10000, 10000, 8, 2, 0, 0, 0))
    body = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    answer = client.post("/restore", content=body)
    assert answer.status_code == 400
    assert "above the limit of 50,000,000" in answer.json()["error"]


def test_more_pictures_than_places_get_429_and_those_that_wait_are_done(open_service, engine, picture):
    service = open_service(queue=1)
    client = TestClient(make_app(service))
    engine.go.clear()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(client.post, "/restore", content=picture) for _ in range(AT_ONCE + 1)]
        wait_until(lambda: service.taken == service.limits.places)
        refused = client.post("/restore", content=picture)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert client.get("/health").json()["taken"] == service.limits.places
        engine.go.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
    assert client.post("/restore", content=picture).status_code == 200
    assert service.taken == 0


def test_a_picture_that_is_not_done_in_time_is_given_up_and_gives_its_place_back(open_service, engine, picture):
    service = open_service(timeout=2)
    client = TestClient(make_app(service))
    engine.go.clear()
    answer = client.post("/restore", content=picture)
    assert (answer.status_code, answer.json()) == (504, {"error": "not done within 2 seconds"})
    assert service.taken == 1  # the engine has it still
    engine.go.set()
    wait_until(lambda: service.taken == 0)
    assert engine.calls == 1
    assert client.post("/restore", content=picture).status_code == 200


def test_a_sender_that_is_too_slow_is_sent_away(open_service, picture):
    service = open_service(timeout=0.2)

    def slowly() -> Iterator[bytes]:
        yield picture[:10]
        time.sleep(0.6)
        yield picture[10:]

    answer = TestClient(make_app(service)).post("/restore", content=slowly())
    assert answer.status_code in (408, 504)
    wait_until(lambda: service.taken == 0)


def test_a_broken_engine_is_500_without_its_words_and_then_unhealthy_until_it_works(client, engine, picture, caplog):
    engine.error = EngineError("/secret/place/model.onnx: the device is lost")
    for count in range(FAILURES_IN_A_ROW):
        assert client.get("/health").status_code == 200, count
        answer = client.post("/restore", content=picture)
        assert (answer.status_code, answer.json()) == (500, {"error": "the engine failed"})
    assert "the device is lost" in caplog.text
    assert (client.get("/health").status_code, client.get("/health").json()["state"]) == (503, "failing")
    engine.error = None
    assert client.post("/restore", content=picture).status_code == 200
    assert client.get("/health").status_code == 200


def test_a_picture_too_large_for_the_memory_is_the_pictures_fault(client, engine, picture):
    engine.error = EngineOutOfMemory("no memory")
    for _ in range(FAILURES_IN_A_ROW + 1):
        assert client.post("/restore", content=picture).status_code == 413
    assert client.get("/health").status_code == 200


def test_nothing_is_left_on_the_disk_after_an_answer(open_service, engine, picture):
    service = open_service()
    client = TestClient(make_app(service))
    for body in (picture, b"nonsense"):
        client.post("/restore", content=body)
    assert list(service._folder.iterdir()) == []
    service.close()
    assert not service._folder.exists()


def test_closing_brings_what_is_at_work_to_its_end_and_drops_what_waits(open_service, engine, picture):
    service = open_service()
    client = TestClient(make_app(service))
    engine.go.clear()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(client.post, "/restore", content=picture) for _ in range(AT_ONCE + 2)]
        wait_until(lambda: service.taken == AT_ONCE + 2 and engine.begun.is_set())
        time.sleep(0.1)  # those that wait are handed over
        closing = threading.Thread(target=service.close)
        closing.start()
        wait_until(lambda: service.state == "closing")
        assert client.get("/health").status_code == 503
        assert client.post("/restore", content=picture).status_code == 429
        engine.go.set()
        closing.join()
        assert sorted(each.result().status_code for each in waiting) == [200] * AT_ONCE + [503] * 2


def test_the_figures_count_answers_pixels_and_stages(client, picture):
    client.post("/restore", content=picture)
    client.post("/restore", content=b"nonsense")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    answers = {
        sample.labels["status"]: sample.value
        for sample in families["dcdr_answers"].samples
        if sample.name.endswith("_total")
    }
    assert answers == {"200": 1, "400": 1}
    assert families["dcdr_pixels"].samples[0].value == 24 * 32
    stages = {s.labels["stage"]: s.value for s in families["dcdr_stage_seconds"].samples if s.name.endswith("_count")}
    assert stages == {"decode": 1, "infer": 1, "encode": 1}
    assert families["dcdr_places"].samples[0].value == Limits().places


def test_no_page_loads_anything_from_another_host(client):
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
    assert "/restore" in client.get("/openapi.json").json()["paths"]
