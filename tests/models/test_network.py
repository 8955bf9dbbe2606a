"""DCDR-UNet has the paper's structure: parameter counts, receptive field, ablations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from receptive import positive, reach
from torch import nn

from dcdr_deploy.models import PRESETS, DCDRUNet, DCDRUNetConfig, count_parameters, initialise, measure_offsets
from dcdr_deploy.models.config import FIXED_RECEPTIVE_FIELD, overlap_for_offsets
from dcdr_deploy.models.opaque import opaque_blocks

ABLATIONS = {
    "full": {},
    "no DCRB": {"deformable": False},
    "no tone net": {"tone_net": False},
    "no condition net": {"condition_net": False},
}
SMALL = DCDRUNetConfig(width=6, condition_width=4, sft_hidden=2, tone_width=6, blocks=(1, 2, 1))


def small_network(offset_scale: float = 0.3, **changes: object) -> DCDRUNet:
    network = DCDRUNet(replace(SMALL, **changes))
    initialise(network, seed=1)
    for block in network.deformable_blocks().values():
        if block.deformable:
            nn.init.normal_(block.offset.weight, std=offset_scale)
    return network.eval()


@pytest.mark.parametrize(
    ("preset", "ablation", "count"),
    [
        ("paper", "full", 1_524_278),
        ("paper", "no DCRB", 1_441_190),
        ("paper", "no tone net", 1_446_899),
        ("paper", "no condition net", 1_862_678),
        ("lite", "full", 1_467_158),
        ("lite", "no DCRB", 1_384_070),
        ("lite", "no tone net", 1_446_899),
        ("lite", "no condition net", 1_805_558),
    ],
)
def test_parameter_count(preset: str, ablation: str, count: int) -> None:
    assert count_parameters(DCDRUNet(replace(PRESETS[preset], **ABLATIONS[ablation]))) == count


def test_eight_blocks_at_half_and_quarter_scale() -> None:
    scales = list(DCDRUNet().block_scales().values())
    assert scales == [2, 2, 4, 4, 4, 4, 2, 2]


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("size", [(4, 4), (8, 20), (36, 12)])
def test_output_has_the_size_of_the_input(ablation: str, size: tuple[int, int]) -> None:
    network = small_network(**ABLATIONS[ablation])
    with torch.no_grad():
        assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("ablation", ["full", "no condition net", "no DCRB"])
def test_every_deform_mode_computes_the_same(ablation: str) -> None:
    network = small_network(**ABLATIONS[ablation])
    x = torch.rand(2, 3, 24, 36)
    with torch.no_grad():
        result = network.set_deform_mode("torchvision")(x)
        assert torch.allclose(network.set_deform_mode("gather")(x), result, atol=1e-5)


@pytest.mark.parametrize("ablation", ["full", "no condition net", "no DCRB"])
def test_opaque_blocks_compute_the_same_with_the_same_weights_and_go_away_again(ablation: str) -> None:
    network = small_network(**ABLATIONS[ablation])
    own, names = network.deformable_blocks(), list(network.state_dict())
    x = torch.rand(2, 3, 24, 36)
    with torch.no_grad():
        expected = network(x)
        with opaque_blocks(network) as opaque:
            assert list(opaque.state_dict()) == names
            assert bool(opaque.deformable_blocks()) == (ablation == "no DCRB")
            assert torch.allclose(opaque(x), expected, atol=1e-5)
    assert network.deformable_blocks() == own


def test_zero_mode_equals_zero_offsets() -> None:
    network = small_network(offset_scale=0.0)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(network.set_deform_mode("zero")(x), network.set_deform_mode("torchvision")(x), atol=1e-5)


def test_offsets_matter() -> None:
    network = small_network()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(
            network.set_deform_mode("zero")(x), network.set_deform_mode("torchvision")(x), atol=1e-3
        )


def test_without_restoration_the_output_is_the_tone_nets_gain_times_the_input() -> None:
    network = small_network()
    for parameter in network.restoration.last.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network(x), x * network.tone.gain(x))


def test_initialisation_is_deterministic_by_seed() -> None:
    first, second, other = DCDRUNet(SMALL), DCDRUNet(SMALL), DCDRUNet(SMALL)
    initialise(first, 5)
    initialise(second, 5)
    initialise(other, 6)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.restoration.first.weight, other.restoration.first.weight)


def narrow(**changes: object) -> DCDRUNet:
    tiny = {"width": 2, "condition_width": 2, "sft_hidden": 1, "tone_width": 2, "blocks": (2, 4, 2)}
    return DCDRUNet(replace(SMALL, **{**tiny, **changes}))


def test_the_fixed_receptive_field_is_the_documented_one() -> None:
    network = narrow()
    assert reach(positive(network), 384) == FIXED_RECEPTIVE_FIELD == network.receptive_field()


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({"condition_net": False, "blocks": (1, 1, 1)}, True),
        ({"condition_net": False, "blocks": (2, 0, 1)}, True),
        ({"tone_net": False, "blocks": (1, 2, 1)}, True),
        ({"blocks": (0, 1, 0)}, True),
        ({"blocks": (0, 0, 3)}, False),
    ],
)
def test_other_configurations_reach_no_farther_than_they_say(changes: dict[str, object], exact: bool) -> None:
    network = narrow(**changes)
    measured = reach(positive(network), 192)
    assert measured <= network.receptive_field() <= measured + (0 if exact else 4)


@pytest.mark.slow
def test_the_overlap_covers_the_receptive_field_with_offsets() -> None:
    network = positive(narrow(), offset=1.0)
    maxima = dict.fromkeys(network.deformable_blocks(), 1.0)
    overlap = overlap_for_offsets(maxima, network.block_scales())
    assert overlap == 132
    assert FIXED_RECEPTIVE_FIELD < reach(network, 400) <= overlap


@pytest.mark.parametrize(("offset", "expected"), [(0.0, 84), (0.2, 132), (1.0, 132), (1.01, 180)])
def test_overlap_rounds_offsets_up_to_whole_pixels(offset: float, expected: int) -> None:
    scales = DCDRUNet().block_scales()
    assert overlap_for_offsets(dict.fromkeys(scales, offset), scales) == expected


def test_measured_offsets_are_those_of_the_blocks() -> None:
    network = small_network(offset_scale=0.0)
    for number, block in enumerate(network.deformable_blocks().values()):
        nn.init.constant_(block.offset.bias, -1.5 if number == 0 else 0.25)
    report = measure_offsets(network, [torch.rand(1, 3, 16, 16), torch.rand(1, 3, 8, 24)])
    first, *others = report.values()
    assert first["max"] == first["mean_abs"] == first["p99"] == pytest.approx(1.5)
    assert all(each["max"] == pytest.approx(0.25) for each in others)
    assert len(report) == 4


def test_configuration_survives_json() -> None:
    config = replace(SMALL, deformable=False, blocks=(3, 1, 0))
    assert DCDRUNetConfig.from_json(config.to_json()) == config
