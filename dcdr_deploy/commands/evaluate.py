"""``dcdr-deploy evaluate``: figures for HDR pictures against their ground truth."""

from __future__ import annotations

from typing import Any

import click

from dcdr_deploy.commands.show.evaluate import display, tell
from dcdr_deploy.commands.show.text import printable_lines, with_options
from dcdr_deploy.evaluation.align import ALIGNMENTS, NONE
from dcdr_deploy.evaluation.comparison import EvaluationSettings
from dcdr_deploy.evaluation.scale import GT_MAX
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.read_hdr import HdrOptions
from dcdr_deploy.metrics.overexposed import BRIGHT_CODE, BRIGHT_SHARE
from dcdr_deploy.metrics.registry import METRICS, PAPER, SETS
from dcdr_deploy.system.json_text import json_text
from dcdr_deploy.system.progress import silent

EPILOG = """\b
Examples:
  dcdr-deploy evaluate hdr/ truth/                       the paper's metrics
  dcdr-deploy evaluate out.exr truth.exr --full-scale 8
  dcdr-deploy evaluate hdr/ truth/ --ldr photos/         also clipped pixels
  dcdr-deploy evaluate hdr/ truth/ --ldr photos/ --overexposed   Test Set 2
  dcdr-deploy evaluate hdr/ truth/ --align gain          relative HDR
  dcdr-deploy evaluate hdr/ phone/ --ldr phone/ --use-gain-map   Ultra HDR, HEIC
  dcdr-deploy evaluate hdr/ truth/ --ldr photos/ --align curve   what is restored
  dcdr-deploy evaluate hdr/ truth/ --metrics paper,pu21-ssim,cvvdp --csv
  dcdr-deploy evaluate hdr/ truth/ --metrics all --json > figures.json

\b
Full scale: in PNG and TIFF 65535 is 1.0. EXR and HDR files are divided by
--full-scale, by default the peak stored in files written by `dcdr-deploy run`.
For metrics of luminance, full scale is multiplied by --white cd/m2.

\b
Alignment: gain applies the best factor by least squares in log light; percentile
maps the 0.1 and 99.9 percentiles of both to 1 and 999 cd/m2, as SingleHDR and
HDRUNet do, where 999 cd/m2 is then full scale; curve applies the monotone tone
curve that fits best where --ldr is not clipped (arXiv 2108.08713).
"""


class FullScaleType(click.ParamType):
    """A number, or ``gt-max``."""

    name = "full scale"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Parse it, or fail with a usage error."""
        if value == GT_MAX or isinstance(value, float):
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {GT_MAX}", param, ctx)


def _list_metrics(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    for metric in METRICS.values():
        reason = metric.missing()
        click.echo(f"{metric.name}  ({metric.heading}, {metric.better} is better)\n    {metric.description}")
        if reason:
            click.echo(f"    not on this machine: {reason}")
    for name, members in SETS.items():
        click.echo(f"{name} = {', '.join(members) if members != tuple(METRICS) else 'all of them'}")
    ctx.exit()


@click.command("evaluate", epilog=EPILOG)
@click.argument("prediction", metavar="PRED")
@click.argument("truth", metavar="GT")
@click.option("--ldr", metavar="DIR", help="The SDR pictures: adds figures for clipped pixels and their surround.")
@click.option(
    "--overexposed",
    is_flag=True,
    help=f"Only Test Set 2: grayscale above {BRIGHT_CODE} on over {100 * BRIGHT_SHARE:g} % of the SDR picture.",
)
@click.option(
    "--metrics",
    default=PAPER,
    show_default=True,
    metavar="NAME,...",
    help=f"Metrics, or sets of them: {', '.join(SETS)}.",
)
@click.option(
    "--list-metrics", is_flag=True, expose_value=False, is_eager=True, callback=_list_metrics, help="List all metrics."
)
@click.option(
    "--full-scale",
    type=FullScaleType(),
    metavar=f"N|{GT_MAX}",
    help="Value of EXR and HDR files that counts as 1.0. [see below]",
)
@click.option(
    "--align",
    type=click.Choice(ALIGNMENTS),
    default=NONE,
    show_default=True,
    help="First adapt each prediction to the scale of its truth. [see below]",
)
@click.option("--partial", is_flag=True, help="Leave out truths without a prediction.")
@click.option("--part", metavar="NAME|N", help="Part to read from OpenEXR files with several.")
@click.option("--layer", metavar="NAME", help="Layer to read from OpenEXR files with layers.")
@click.option(
    "--use-gain-map", is_flag=True, help="Take JPEG, HEIC and AVIF with a gain map, as base x map, for HDR pictures."
)
@click.option("--strict", is_flag=True, help="Refuse NaN and infinity. [masked and counted]")
@click.option("--white", type=float, default=SDR_WHITE_NITS, show_default=True, help="SDR white in cd/m2.")
@click.option("--jobs", type=int, help="Processes. [one a core, fewer where memory is short]")
@click.option("--summary", is_flag=True, help="Means only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and notes.")
def command(prediction: str, truth: str, **chosen: Any) -> None:
    """Compare the HDR pictures PRED with the ground truth GT: two files, or two folders.

    Pictures are linear: EXR, HDR, TIFF of floats, 16-bit PNG or TIFF, NumPy arrays; or PQ: PNG, AVIF, HEIC, JPEG XL. In
    folders they are paired by relative path without the suffix; a truth without its prediction, or of another size, is
    an error. Prints each pair's figures and their mean.
    """
    from dcdr_deploy.evaluation.comparison import evaluate
    from dcdr_deploy.evaluation.pairing import find_pairs

    if chosen["as_json"] and chosen["as_csv"]:
        raise click.UsageError("--json and --csv exclude each other")
    settings = EvaluationSettings(
        metrics=tuple(name.strip() for name in chosen["metrics"].split(",") if name.strip()),
        full_scale=chosen["full_scale"],
        white_nits=chosen["white"],
        overexposed=chosen["overexposed"],
        align=chosen["align"],
        reading=HdrOptions(chosen["part"], chosen["layer"], chosen["strict"], chosen["use_gain_map"]),
        jobs=chosen["jobs"],
    )
    left_out: list[str] = []
    choice = {"partial": chosen["partial"], "gain_maps": chosen["use_gain_map"]}
    pairs = find_pairs(prediction, truth, chosen["ldr"], **choice, listener=lambda event: left_out.append(event.note))
    with display() as shown:
        report = evaluate(pairs, settings, silent if chosen["quiet"] else shown)
    if not chosen["quiet"]:
        tell(report, left_out, as_table=not (chosen["as_json"] or chosen["as_csv"]))
    if chosen["as_json"]:
        click.echo(with_options(json_text(report.as_dict(), indent=2)))
    elif chosen["as_csv"]:
        click.echo(printable_lines(with_options(report.as_csv(summary=chosen["summary"]))), nl=False)
    else:
        click.echo(printable_lines(with_options(report.as_table(summary=chosen["summary"]))))
