"""Whatever training tools put around a state dict, the network's weights are found in it, and it is said which."""

from __future__ import annotations

import argparse
import collections
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, find_preset, initialise, load_checkpoint
from dcdr_deploy.models.envelopes import find_state
from dcdr_deploy.models.hdrunet import HDRUNet

SMALL = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=3, tone_width=5, blocks=(1, 1, 1))
State = dict[str, Tensor]


@functools.cache
def _initialised(seed: int) -> DCDRUNet:
    network = DCDRUNet(SMALL)
    initialise(network, seed)
    return network


def weights(seed: int = 3) -> State:
    return dict(_initialised(seed).state_dict())


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def loaded(content: Any, folder: Path) -> tuple[State, str]:
    torch.save(content, folder / "m.pth")
    model = load_checkpoint(folder / "m.pth")
    return dict(model.network.state_dict()), model.taken


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "torch.compile": lambda s: under("_orig_mod.", s),
    "data parallel of a compiled network": lambda s: under("module._orig_mod.", s),
    "compiled data parallel": lambda s: under("_orig_mod.module.", s),
    "Lightning": lambda s: {"state_dict": under("model.", s), "epoch": 1, "pytorch-lightning_version": "2.6.0"},
    "Lightning with a loss network": lambda s: {
        "state_dict": {**under("net.", s), "loss.vgg.features.0.weight": torch.zeros(4, 3, 3, 3)},
        "callbacks": {"best": {"score": torch.tensor(3.0)}},
    },
    "generator of a GAN": lambda s: {
        "state_dict": {**under("netG.", s), **under("netD.", {"a.weight": torch.ones(1)})}
    },
    "generator beside discriminator": lambda s: {"netG": s, "netD": {"conv.weight": torch.zeros(2)}},
    "torch's tutorial": lambda s: {
        "model_state_dict": s,
        "optimizer_state_dict": {"state": {}},
        "epoch": 1,
        "loss": 0.1,
    },
    "optimiser with moments": lambda s: {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}, "weights": s},
    "nested": lambda s: {"checkpoint": {"models": {"g": under("module.", s)}}},
    "an unknown word": lambda s: {"whatever": under("a.b.c.", s)},
    "a counter among the weights": lambda s: {**s, "num_batches": torch.tensor(7), "step": torch.tensor(3)},
    "NumPy numbers beside": lambda s: {"model": s, "best": np.float64(31.2), "epoch": np.int64(3), "log": np.ones(3)},
    "arguments beside": lambda s: {
        "model": s,
        "args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.99)),
        "config": types.SimpleNamespace(size=3),
        "history": collections.OrderedDict(a=[1, 2]),
        "names": {"a", "b"},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_weights_are_found_in_every_usual_layout(layout: Callable[[State], Any], tmp_path: Path) -> None:
    state, _ = loaded(layout(weights()), tmp_path)
    assert same(state, weights())


AVERAGES: dict[str, Callable[[State, State], Any]] = {
    "ema": lambda last, mean: {"model": last, "ema": mean},
    "model_ema": lambda last, mean: {"model_ema": mean, "model": last},
    "state_dict_ema": lambda last, mean: {"state_dict": last, "state_dict_ema": mean},
    "ema_state_dict": lambda last, mean: {"state_dict": last, "ema_state_dict": under("module.", mean)},
    "params_ema": lambda last, mean: {"params": last, "params_ema": mean},
    "ema of a wrapper": lambda last, mean: {"model": last, "ema": {"decay": 0.99, "shadow": mean}},
    "prefix of Lightning": lambda last, mean: {
        "state_dict": {**under("model.", last), **under("ema_model.module.", mean)}
    },
    "swa": lambda last, mean: {"net": last, "swa": {**under("module.", mean), "n_averaged": torch.tensor(4)}},
}


@pytest.mark.parametrize("layout", AVERAGES.values(), ids=AVERAGES.keys())
def test_an_average_of_the_weights_is_preferred_and_named(
    layout: Callable[[State, State], Any], tmp_path: Path
) -> None:
    mean = weights(seed=8)
    state, taken = loaded(layout(weights(), mean), tmp_path)
    assert same(state, mean)
    assert "ema" in taken or "swa" in taken
    assert "not '" in taken


def test_an_average_that_lacks_a_part_is_not_preferred(tmp_path: Path) -> None:
    part = {name: value for name, value in weights(8).items() if not name.startswith("tone")}
    state, _ = loaded({"model": weights(), "ema": part}, tmp_path)
    assert same(state, weights())


def test_a_word_that_only_contains_ema_is_no_average() -> None:
    found = find_state({"schema": weights(8), "system": weights(), "params": weights()}, Path("m.pth"))
    assert found.place == "schema"  # the first in the file, as none is an average
    assert found.others == ("system", "params")


def test_a_bare_state_dict_leaves_nothing_to_say(tmp_path: Path) -> None:
    assert loaded(weights(), tmp_path)[1] == ""


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    assert loaded({**weights(), "step": torch.tensor(3)}, tmp_path)[1] == "left out step"


def test_unknown_tensors_inside_the_network_are_still_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has unknown restoration\.surplus"):
        loaded({"net": under("net.", {**weights(), "restoration.surplus": torch.zeros(1)})}, tmp_path)


def test_other_architectures_are_found_as_well(tmp_path: Path) -> None:
    network = HDRUNet(find_preset("hdrunet"))
    initialise(network, 1)
    state, taken = loaded({"state_dict": under("netG.module.", dict(network.state_dict()))}, tmp_path)
    assert same(state, dict(network.state_dict()))
    assert taken == "took 'state_dict: netG.module.'"


def test_a_stranger_s_wrapped_weights_are_described_by_their_keys(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"of no known network .*fc\.bias"):
        loaded({"model_state_dict": {"fc.bias": torch.zeros(2)}}, tmp_path)


words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).filter(
    lambda word: word not in ("restoration", "condition", "tone")
)


@given(keys=st.lists(words, max_size=3), prefixes=st.lists(words, max_size=3))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_before_the_names_and_around_the_weights_will_do(keys: list[str], prefixes: list[str]) -> None:
    content: Any = under("".join(f"{word}." for word in prefixes), weights())
    for key in reversed(keys):
        content = {key: content, "counter": 1}
    assert same(find_state(content, Path("m.pth")).tensors, weights())


def test_torchscript_is_refused_in_one_line_of_ours(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "m.pth")
    recwarn.clear()
    with pytest.raises(CheckpointError, match=r"is a TorchScript archive: a program, not weights") as caught:
        load_checkpoint(tmp_path / "m.pth")
    assert "weights_only" not in str(caught.value)
    assert not recwarn.list


class Stranger:
    """A class of a training script."""


def test_a_stranger_s_object_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"model": weights(), "config": Stranger()}, tmp_path / "m.pth")
    with pytest.raises(
        CheckpointError, match=r"asks for [\w.]*Stranger, and only tensors, numbers and plain containers"
    ):
        load_checkpoint(tmp_path / "m.pth")
