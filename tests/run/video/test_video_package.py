"""What versions of PyAV give in different ways, and what we make of it."""

from __future__ import annotations

from fractions import Fraction

from videos import Clip, write_clip

from dcdr_deploy.run.video.package import exact, open_source, readable, side_data_of


def test_titles_in_other_encodings_are_readable_text():
    """PyAV 19 reads what is no UTF-8 into surrogates, which no other program's file may hold."""
    read = b"d\xe9j\xe0 vu, \xd0\xbc".decode("utf-8", "surrogateescape")
    assert readable({"title": read, "artist": "Ivana Dvořáková"}) == {
        "title": "d\ufffdj\ufffd vu, м",
        "artist": "Ivana Dvořáková",
    }


def test_times_are_exact_whatever_their_type(tmp_path):
    """PyAV 19's own numbers round products of two to 32 bits; a number that is not known is 0 there and None before."""
    assert exact(None) == 0
    with open_source(write_clip(tmp_path / "in.mp4", Clip(frames=2))) as container:
        stream = container.streams.video[0]
        tick = exact(stream.time_base)
        assert isinstance(tick, Fraction)
        assert exact(stream.average_rate) == 24
        small = tick / 1_000_003
        assert tick * small * tick == Fraction(1, (1 / tick) ** 3 * 1_000_003)
        frame = next(container.decode(stream))
        assert all(isinstance(kind, str) for kind in side_data_of(frame))
