"""The layer over the CUDA driver, with a driver made of numpy: right calls in the right order, errors as ours."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import CUresult, FakeDriver

from dcdr_deploy.engines.cuda import memory
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.errors import EngineError, EngineOutOfMemory
from dcdr_deploy.system import hardware


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setattr(memory, "load_driver", lambda: fake)
    return fake


@pytest.fixture
def device(driver: FakeDriver) -> Device:
    return Device(0)


def test_a_device_says_what_it_is(device: Device):
    assert (device.name, device.sm, device.free_memory()) == ("Fake GPU", 86, 1 << 30)


def test_a_gpu_that_is_not_there_is_an_error(driver: FakeDriver):
    with pytest.raises(EngineError, match="cuDeviceGet failed"):
        Device(3)


@pytest.mark.skipif(hardware.cuda_device_count() > 0, reason="this machine has a GPU")
def test_without_a_driver_it_is_one_line():
    pytest.importorskip("cuda.bindings.driver")
    with pytest.raises(EngineError, match="driver") as caught:
        Device(0)
    assert "\n" not in str(caught.value)


def test_what_is_uploaded_comes_back(device: Device):
    stream, values = device.create_stream(), np.arange(6, dtype=np.float32).reshape(2, 3)
    there, here, back = device.allocate(24), device.allocate_pinned(24), device.allocate_pinned(24)
    here.view((2, 3), np.float32)[...] = values
    stream.upload(there, here, 24)
    stream.download(back, there, 24)
    assert not (back.view((2, 3), np.float32) == values).any()  # nothing is done before somebody waits
    stream.synchronise()
    np.testing.assert_array_equal(back.view((2, 3), np.float32), values)


def test_an_event_orders_two_streams_and_the_host(device: Device):
    first, second = device.create_stream(), device.create_stream()
    uploaded, finished = device.create_event(), device.create_event()
    one, two, host = device.allocate(4), device.allocate(4), device.allocate_pinned(4)
    host.view((4,), np.uint8)[...] = 9
    finished.synchronise()  # never recorded: no wait
    first.upload(one, host, 4)
    first.record(uploaded)
    second.wait(uploaded)
    second.copy(two, one, 4)
    second.download(host, two, 4)
    second.record(finished)
    host.view((4,), np.uint8)[...] = 7  # the upload has not happened yet
    finished.synchronise()
    assert (host.view((4,), np.uint8) == 7).all()


def test_a_graph_repeats_what_was_recorded(device: Device, driver: FakeDriver):
    stream, host = device.create_stream(), device.allocate_pinned(4)
    one, two = device.allocate(4), device.allocate(4)
    host.view((4,), np.uint8)[...] = 5
    stream.upload(one, host, 4)
    graph = stream.capture(lambda: stream.copy(two, one, 4))
    stream.synchronise()
    assert (driver.array(two.address, 4) != 5).all()  # recorded, not done
    stream.launch(graph)
    stream.synchronise()
    assert (driver.array(two.address, 4) == 5).all()
    graph.close()
    stream.close()
    device.close()
    assert driver.live_handles == 0


def test_what_cannot_be_recorded_leaves_the_stream_usable(device: Device, driver: FakeDriver):
    stream = device.create_stream()
    with pytest.raises(EngineError):
        stream.capture(lambda: device.allocate(4) and None)
    with pytest.raises(ZeroDivisionError):
        stream.capture(lambda: 1 / 0)
    stream.synchronise()
    stream.close()
    device.close()
    assert driver.live_handles == 0


def test_lack_of_memory_is_told_from_other_failures(device: Device, driver: FakeDriver):
    with pytest.raises(EngineOutOfMemory, match="cuMemAlloc"):
        device.allocate(2 << 30)
    driver.cuMemAlloc = lambda size: (CUresult.CUDA_ERROR_INVALID_DEVICE, None)
    with pytest.raises(EngineError) as caught:
        device.allocate(4)
    assert not isinstance(caught.value, EngineOutOfMemory)


def test_memory_is_given_back(device: Device, driver: FakeDriver):
    blocks = [device.allocate(1000), device.allocate_pinned(1000)]
    assert device.free_memory() == (1 << 30) - 1000
    for block in blocks:
        block.free()
    assert device.free_memory() == 1 << 30
    with pytest.raises(AssertionError, match="not allocated"):
        driver.array(blocks[0].address, 1)


def test_every_function_that_is_called_exists_in_the_bindings():
    """Guards against the fake: it answers to any name."""
    bindings = pytest.importorskip("cuda.bindings.driver")
    source = Path(memory.__file__).read_text()
    names = set(re.findall(r"\bcu[A-Z]\w+|\bCU[a-z]\w+", source)) | set(re.findall(r'"(cu[A-Z]\w+)"', source))
    assert len(names) > 20
    assert [name for name in names if not hasattr(bindings, name)] == []
    for flags, name in re.findall(r"\.(CU\w+)\.(CU_\w+)", source):
        assert hasattr(getattr(bindings, flags), name)


def test_the_fake_has_no_function_that_the_bindings_lack():
    bindings = pytest.importorskip("cuda.bindings.driver")
    assert [name for name in vars(FakeDriver) if name.startswith("cu") and not hasattr(bindings, name)] == []
