"""Pictures for the commands that show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.imaging import write_image


@pytest.fixture
def pictures_to_see(tmp_path, monkeypatch, make_picture) -> None:
    """A working directory with two HDR pictures, hdr/a.exr and hdr/b.exr, and the input of the first, sdr/a.png."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_image(f"hdr/{name}.exr", np.full((24, 32, 3), 0.25, np.float32), peak=8)
    make_picture(Path("sdr/a.png"))
