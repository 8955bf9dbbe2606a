"""The service as a process: many clients, what it takes of memory, how it is stopped, and what it says no to."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).resolve().parents[2]
CLIENTS, REQUESTS = 16, 200

Started = tuple["subprocess.Popen[str]", str]


@pytest.fixture
def start(tmp_path: Path, tiny_model: Path) -> Iterator[Callable[..., Started]]:
    """``start("--queue", 3)``: a server on a free port; the process and its address."""
    processes: list[subprocess.Popen[str]] = []
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    def begin(*options: object) -> Started:
        command = [sys.executable, "-m", "dcdr_deploy", "serve", "-m", tiny_model, "--backend", "onnxruntime"]
        command += ["--threads", 1, "--port", 0, "--json", *options]
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        told = json.loads(line)
        assert told["status"] == "listening"
        return process, told["address"].removeprefix("http://")

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def post(address: str, body: bytes, query: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", f"/restore{query}", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def figure(address: str, name: str) -> float:
    with urlopen(f"http://{address}/metrics") as answer:
        (line,) = [each for each in answer.read().decode().splitlines() if each.startswith(f"{name} ")]
    return float(line.split()[1])


def test_200_good_and_bad_requests_of_16_clients_are_all_answered_and_memory_stays_flat(start, picture) -> None:
    process, address = start("--queue", CLIENTS, "--max-megabytes", 0.01)
    kinds: dict[str, tuple[bytes, str, int]] = {
        "good": (picture, "", 200),
        "other format": (picture, "?format=tif", 200),
        "no picture": (b"nonsense", "", 400),
        "cut short": (picture[:60], "", 400),
        "no such parameter": (picture, "?strenght=1", 400),
        "too large": (picture + bytes(20_000), "", 413),
    }
    names = [name for name in kinds for _ in range(REQUESTS // 8)] + ["good"] * (REQUESTS // 4)
    random.Random(17).shuffle(names)
    assert len(names) == REQUESTS

    def ask(name: str) -> tuple[str, int]:
        body, query, _ = kinds[name]
        status, content = post(address, body, query)
        if status == 200:
            assert content.startswith(b"\x76\x2f\x31\x01" if name == "good" else b"II*\0")
        else:
            assert set(json.loads(content)) == {"error"}
        return name, status

    def round_of_all() -> Counter[tuple[str, int]]:
        with ThreadPoolExecutor(CLIENTS) as threads:
            return Counter(threads.map(ask, names))

    first = round_of_all()
    memory = figure(address, "process_resident_memory_bytes")
    files = figure(address, "process_open_fds")
    second = round_of_all()
    expected = Counter((name, kinds[name][2]) for name in names)
    assert first == expected
    assert second == expected
    assert figure(address, "dcdr_places_taken") == 0
    assert figure(address, "process_open_fds") <= files + 2
    assert figure(address, "process_resident_memory_bytes") - memory < 12e6  # 200 leaked pictures would be 20 MB
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_picture_under_way_is_answered_when_the_service_is_told_to_stop(start, picture, tmp_path) -> None:
    process, address = start()
    connection = socket.create_connection(address.split(":"), timeout=20)
    head = f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + picture[:40])
    while not figure(address, "dcdr_places_taken"):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset
        post(address, picture)
    connection.sendall(picture[40:])
    answer = b""
    while part := connection.recv(1 << 16):
        answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert process.wait(20) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_client_that_goes_away_gives_its_place_back(start, picture) -> None:
    process, address = start()
    for sent in (picture[:40], picture):
        connection = socket.create_connection(address.split(":"), timeout=20)
        head = f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        connection.close()
    end = time.monotonic() + 10
    while figure(address, "dcdr_places_taken"):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert post(address, picture)[0] == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_it_listens_on_loopback_alone_unless_told_otherwise(start) -> None:
    _, address = start()
    assert address.startswith("127.0.0.1:")
    process, address = start("--host", "0.0.0.0")
    assert address.startswith("0.0.0.0:")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert "there are no users and no encryption" in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--queue", "0"), "--queue must be above 0"),
        (("--timeout", "nan"), "--timeout must be above 0"),
        (("--max-megapixels", "-1"), "--max-megapixels must be above 0"),
        (("--port", "70000"), "70000 is not in the range"),
        (("--host", "192.0.2.1"), "choose another --host"),  # of documents: no machine has it
        (("--host", "no such host"), "--host 'no such host' is no address of this machine"),
        (("--backend", "abacus"), "abacus"),
        (("-m", "gone.onnx"), "model gone.onnx does not exist"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_2(dcdr, options, said) -> None:
    result = dcdr("serve", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_one_line(dcdr) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = dcdr("serve", "--port", port)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: 127.0.0.1:{port} cannot be listened on (Address already in use); choose another --port\n"
    )
