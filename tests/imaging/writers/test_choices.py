"""What a format cannot do is refused before any work, in one line that names the file and the field."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.errors import MissingDependency, OutputError
from dcdr_deploy.imaging import WriteOptions, check_output, write_image
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.writers import exr, png

LINEAR = np.full((4, 4, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.exr", WriteOptions(light=Light(transfer="pq")), ".exr cannot hold `transfer` pq; it has linear"),
        ("a.tif", WriteOptions(light=Light(transfer="hlg")), ".tif cannot hold `transfer` hlg; it has linear"),
        (
            "a.png",
            WriteOptions(light=Light(primaries="aces2065-1")),
            ".png cannot hold `primaries` aces2065-1; it has rec709, p3, rec2020, acescg",
        ),
        (
            "a.png",
            WriteOptions(light=Light(primaries="acescg", transfer="pq")),
            ".png cannot hold `primaries` acescg; it has rec709, p3, rec2020",
        ),
        (
            "a.exr",
            WriteOptions(light=Light(peak_nits=600)),
            ".exr has no `peak_nits`; leave it out, or write another format",
        ),
        (
            "a.png",
            WriteOptions(light=Light(reference_white=100)),
            ".png in linear light has no `reference_white`; leave it out, or take the transfer pq",
        ),
        (
            "a.tif",
            WriteOptions(light=Light(tag="scene")),
            ".tif has no `tag`; leave it out, or write another format",
        ),
        (
            "a.png",
            WriteOptions(light=Light(tag="scene", transfer="pq")),
            ".png has no `tag`; leave it out, or write another format",
        ),
        (
            "a.jpg",
            WriteOptions(light=Light(peak_nits=600)),
            ".jpg has no `peak_nits`; leave it out, or write another format",
        ),
        ("a.hdr", WriteOptions(float32=True), ".hdr has no `float32`; leave it out, or write another format"),
        ("a.png", WriteOptions("piz"), ".png has no `exr_compression`; leave it out, or write another format"),
        (
            "a.png",
            WriteOptions(light=Light(transfer="pq", peak_nits=100)),
            "`peak_nits` 100 is below the reference white, 203 cd/m2; raise it, or lower `reference_white`",
        ),
        (
            "a.png",
            WriteOptions(light=Light(transfer="hlg", peak_nits=2000)),
            "HLG ends at 1000 cd/m2; lower `peak_nits`, or take the transfer pq",
        ),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, name, options, said):
    path = tmp_path / name
    for refuse in (lambda: check_output(path, options), lambda: write_image(path, LINEAR, peak=8, options=options)):
        with pytest.raises(OutputError, match="^" + re.escape(f"{path}: {said}") + "$"):
            refuse()
    assert list(tmp_path.iterdir()) == []


def test_a_peak_below_the_reference_white_is_no_matter_of_linear_files(tmp_path):
    check_output(tmp_path / "a.exr", WriteOptions(light=Light(reference_white=2 * Light.peak_nits)))


def test_a_format_without_its_package_tells_the_install_line():
    needy = replace(png.FORMAT, suffixes=(".avif",), needs=("no_such_module_here", "formats"))
    with pytest.raises(MissingDependency, match=r"^\.avif needs the package no_such_module_here; pip install "):
        needy.check(WriteOptions())


def test_a_format_without_a_choice_of_primaries_and_curve_takes_none():
    plain = replace(png.FORMAT, suffixes=(".jpg",), transfers=(), primaries=())
    light = plain.check(WriteOptions())
    assert (light.primaries, light.transfer) == (None, None)
    with pytest.raises(OutputError, match=r"\.jpg cannot hold `primaries` p3; leave it out"):
        plain.check(WriteOptions(light=Light(primaries="p3")))


@pytest.mark.parametrize(
    ("form", "asked", "primaries", "transfer"),
    [
        (exr.FORMAT, Light(), "rec709", "linear"),
        (png.FORMAT, Light(), "rec709", "linear"),
        (png.FORMAT, Light(transfer="pq"), "rec2020", "pq"),
        (png.FORMAT, Light(transfer="hlg", primaries="p3"), "p3", "hlg"),
    ],
)
def test_what_nobody_asked_for_is_the_formats_own(form, asked, primaries, transfer):
    light = form.check(WriteOptions(light=asked))
    assert (light.primaries, light.transfer) == (primaries, transfer)


def test_paths_may_be_strings(tmp_path):
    write_image(str(tmp_path / "a.png"), LINEAR, peak=8, options=WriteOptions(light=Light(transfer="pq")))
    assert Path(tmp_path / "a.png").stat().st_size > 0
