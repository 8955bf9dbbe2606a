"""Comparing folders of HDR pictures with their ground truth: the paper's section 4 as a command."""

from dcdr_deploy.evaluation.comparison import EvaluationSettings, evaluate
from dcdr_deploy.evaluation.pairing import PairFiles, find_pairs
from dcdr_deploy.evaluation.report import EvaluationReport
from dcdr_deploy.evaluation.scale import GT_MAX
from dcdr_deploy.imaging.read_hdr import HdrOptions, Picture, read_hdr

__all__ = [
    "GT_MAX",
    "EvaluationReport",
    "EvaluationSettings",
    "HdrOptions",
    "PairFiles",
    "Picture",
    "evaluate",
    "find_pairs",
    "read_hdr",
]
