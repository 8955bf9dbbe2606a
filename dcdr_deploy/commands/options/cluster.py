"""Folders and videos over the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.errors import InputError
from dcdr_deploy.run.jobs import FolderPlan
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FolderReport
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.system.progress import Listener

if TYPE_CHECKING:
    from dcdr_deploy.serving.actor_setup import ActorSetup
    from dcdr_deploy.serving.addresses import Address

options = group(
    click.option(
        "--ray",
        metavar="local|ADDRESS",
        help="Convert a folder, or a video in segments, on the machines of a Ray cluster. INPUT and OUTPUT of pictures "
        "may then be s3:// or gs:// addresses. local starts a cluster here.",
    ),
    click.option(
        "--actors", type=int, metavar="N", help="--ray: number of engines. [one per GPU; without GPUs one per machine]"
    ),
    click.option(
        "--cpus-per-actor",
        type=int,
        metavar="N",
        help="--ray: processor cores per engine. [the machine's, shared equally]",
    ),
    click.option(
        "--gpus-per-actor", type=float, metavar="X", help="--ray: GPUs per engine, such as 0.5. [1 if there are any]"
    ),
)

_OTHERS = ("actors", "cpus_per_actor", "gpus_per_actor")


def is_asked_for(chosen: Mapping[str, Any]) -> bool:
    """Tell whether a run goes over a cluster.

    Raises:
        InputError: an option of this group is given without a cluster.
    """
    if chosen["ray"] is None and (given := [name for name in _OTHERS if chosen[name] is not None]):
        raise InputError(f"`{given[0]}` is for runs over a cluster; name one with `ray`, or leave it out")
    return chosen["ray"] is not None


def convert_planned(
    plan: FolderPlan,
    target: Path | Address,
    options: ConvertOptions,
    settings: RunnerSettings,
    chosen: Mapping[str, Any],
    listener: Listener,
    *,
    source: Address | None = None,
    video: VideoOptions | None = None,
) -> FolderReport:
    """Convert the pictures of folders or of an address, or videos of folders, over the cluster asked for.

    Raises:
        DcdrError: as :func:`dcdr_deploy.serving.cluster_folder.convert_over_cluster`.
    """
    from dcdr_deploy.serving.cluster_folder import convert_over_cluster

    with _joined(settings, chosen) as setup:
        return convert_over_cluster(
            setup, plan, target, options,
            source=source, video=video, overwrite=chosen["overwrite"], listener=listener,
        )  # fmt: skip


def plan_addresses(
    sources: Sequence[str], target: str, options: ConvertOptions, *, recursive: bool
) -> tuple[FolderPlan, Address, Address]:
    """Find the pictures at an address; input or output may be a folder, too.

    Returns:
        The plan, and the addresses of input and output.

    Raises:
        InputError: there are several inputs.
        DcdrError: as :func:`dcdr_deploy.serving.staging.plan_addresses`.
    """
    from dcdr_deploy.serving import staging
    from dcdr_deploy.serving.addresses import address_of

    if len(sources) > 1:
        raise InputError(f"{sources[1]}: of addresses one is taken at a time; put the pictures below one")
    source, to = address_of(sources[0]), address_of(target)
    return staging.plan_addresses(source, to, options, recursive=recursive), source, to


def convert_video(
    prepared: PreparedVideo, settings: RunnerSettings, chosen: Mapping[str, Any], listener: Listener
) -> VideoReport:
    """Convert one video over the cluster asked for.

    Raises:
        DcdrError: as :func:`dcdr_deploy.serving.cluster_video.convert_video_over_cluster`.
    """
    from dcdr_deploy.serving.cluster_video import convert_video_over_cluster

    with _joined(settings, chosen) as setup:
        return convert_video_over_cluster(setup, prepared, listener)


@contextmanager
def _joined(settings: RunnerSettings, chosen: Mapping[str, Any]) -> Iterator[ActorSetup]:
    """Join the cluster for the block, and give what its actors are made of."""
    from dcdr_deploy.serving.actor_setup import ActorSetup
    from dcdr_deploy.serving.cluster import cluster, import_ray
    from dcdr_deploy.serving.cluster_folder import choose
    from dcdr_deploy.serving.layout import ActorOptions

    actors = ActorOptions(*(chosen[name] for name in _OTHERS))
    import_ray(chosen["ray"])  # what is missing is told first
    choice = choose(chosen["model"], settings)
    with cluster(chosen["ray"]) as ray:
        yield ActorSetup(ray, choice, settings, actors)
