"""The report on a machine names what it has."""

from __future__ import annotations

import pytest

from dcdr_deploy.commands.show.doctor import format_report
from dcdr_deploy.inspection import machine
from dcdr_deploy.system import hardware


def test_the_report_names_every_backend_and_prints(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "nvidia_gpus", lambda: [hardware.Gpu(0, "H200", 2 << 30, 1 << 30, "580", "9.0")])
    data = machine.report()
    text = format_report(data)
    assert set(data["backends"]) >= {"onnxruntime", "openvino", "torch"}
    assert "GPU 0: H200, 1.0 GiB free of 2.0 GiB, sm 9.0" in text
    assert data["packages"]["numpy"] in text
    assert all(f"  {name} " in text for name in data["backends"])
