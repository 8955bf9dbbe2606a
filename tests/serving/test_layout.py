"""How a cluster is shared out among actors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.serving.layout import ActorOptions, Node, lay_out

TWO_MACHINES = [Node("a", 8, 0), Node("b", 8, 0)]
GPUS = [Node("head", 4, 0), Node("a", 32, 4), Node("b", 32, 4)]


def test_without_gpus_there_is_one_actor_a_machine_with_all_its_cores():
    layout = lay_out(TWO_MACHINES, ActorOptions(), RunnerSettings())
    assert (layout.actors, layout.cpus, layout.gpus) == (2, 8, 0)
    assert (layout.settings.threads, layout.settings.device) == (8, "cpu")


def test_more_actors_share_the_cores():
    layout = lay_out(TWO_MACHINES, ActorOptions(actors=6), RunnerSettings())
    assert (layout.actors, layout.cpus, layout.settings.threads) == (6, 2, 2)


def test_with_gpus_there_is_one_actor_a_gpu_and_the_head_without_one_gets_none():
    layout = lay_out(GPUS, ActorOptions(), RunnerSettings())
    assert (layout.actors, layout.cpus, layout.gpus, layout.settings.device) == (8, 8, 1, "auto")
    assert layout.pictures == 8  # reading and writing take longer than a GPU does


def test_one_gpu_gives_one_actor_whose_engine_chooses_its_threads():
    layout = lay_out([Node("a", 8, 1)], ActorOptions(), RunnerSettings())
    assert (layout.actors, layout.gpus, layout.settings.threads) == (1, 1, None)


def test_actors_can_share_a_gpu():
    assert lay_out(GPUS, ActorOptions(gpus=0.5), RunnerSettings()).actors == 16


def test_who_asks_for_the_processor_gets_no_gpu():
    layout = lay_out(GPUS, ActorOptions(), RunnerSettings(device="cpu"))
    assert (layout.gpus, layout.settings.device) == (0, "cpu")


def test_threads_that_were_asked_for_are_kept():
    assert lay_out(TWO_MACHINES, ActorOptions(), RunnerSettings(threads=3)).settings.threads == 3


@pytest.mark.parametrize(
    ("nodes", "options", "settings", "sentence"),
    [
        (TWO_MACHINES, ActorOptions(actors=17), RunnerSettings(), "has room for 16 actors with 1 processor core each"),
        (TWO_MACHINES, ActorOptions(gpus=1), RunnerSettings(), "no machine of the cluster has 1 GPU and"),
        (TWO_MACHINES, ActorOptions(), RunnerSettings(device="cuda"), "no machine of the cluster has a GPU"),
        (GPUS, ActorOptions(), RunnerSettings(device="cuda:1"), "the cluster gives each actor its GPU; use cuda"),
        (GPUS, ActorOptions(gpus=1), RunnerSettings(device="cpu"), "leave `gpus_per_actor` out"),
        (GPUS, ActorOptions(actors=9), RunnerSettings(), "room for 8 actors"),
        ([Node("a", 0, 0)], ActorOptions(), RunnerSettings(), "no machine of the cluster"),
    ],
)
def test_what_does_not_fit_is_told(nodes, options, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        lay_out(nodes, options, settings)


@pytest.mark.parametrize(
    "options", [{"actors": 0}, {"actors": 10**6}, {"cpus": 0}, {"gpus": -1.0}, {"gpus": 1.5}, {"gpus": float("nan")}]
)
def test_options_out_of_range_are_told(options):
    with pytest.raises(InputError, match="must be"):
        ActorOptions(**options)


nodes = st.lists(st.builds(Node, st.just("x"), st.integers(0, 64), st.integers(0, 8)), min_size=1, max_size=5)


@given(
    nodes, st.none() | st.integers(1, 40), st.none() | st.integers(1, 8), st.sampled_from([None, 0.0, 0.5, 1.0, 2.0])
)
def test_what_is_asked_of_ray_always_fits(machines, actors, cpus, gpus):
    try:
        layout = lay_out(machines, ActorOptions(actors, cpus, gpus), RunnerSettings())
    except InputError:
        return
    room = sum(min(node.cpus // layout.cpus, node.gpus // layout.gpus if layout.gpus else 10**9) for node in machines)
    assert 1 <= layout.actors <= room
    assert layout.actors == (actors or layout.actors)
