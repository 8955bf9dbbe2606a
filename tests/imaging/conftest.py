"""Shared by the tests of reading SDR pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.frame import Frame


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Frame]:
    """``read(data, name="picture")``: bytes as :func:`read_image` reads them from a file."""

    def read_bytes(data: bytes, name: str = "picture") -> Frame:
        path = tmp_path / name
        path.write_bytes(data)
        return read_image(path)

    return read_bytes
