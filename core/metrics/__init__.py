"""Measures of labels against gold labels, each over plain sequences, and `evaluate`, which picks those that apply."""

from labelspace.metrics.against import compare
from labelspace.metrics.agreement import agreement_of_runs, cohen_kappa, fleiss_kappa, kappa_by, krippendorff_alpha
from labelspace.metrics.calibration import brier, expected_calibration_error, log_loss, multiclass_brier, reliability
from labelspace.metrics.classification import (
    accuracy,
    confusion_pairs,
    example_f1,
    hamming_loss,
    macro_f1,
    micro_f1,
    per_label,
    subset_accuracy,
    weighted_f1,
)
from labelspace.metrics.clusters import (
    ami,
    ari,
    inverse_purity,
    many_to_one_f1,
    nmi,
    one_to_one_accuracy,
    one_to_one_f1,
    purity,
    v_measure,
)
from labelspace.metrics.compare import mcnemar, paired_bootstrap
from labelspace.metrics.evaluation import evaluate
from labelspace.metrics.intervals import bootstrap, clopper_pearson, wilson
from labelspace.metrics.report import Comparison, Report
from labelspace.metrics.selection import (
    accuracy_at_coverage,
    area_under_risk_coverage,
    risk_coverage,
    threshold_for_precision,
)
from labelspace.metrics.tree import hierarchical_f1, level_accuracy, matched_tree_distance, mean_tree_distance

__all__ = [
    "Comparison",
    "Report",
    "accuracy",
    "accuracy_at_coverage",
    "agreement_of_runs",
    "ami",
    "area_under_risk_coverage",
    "ari",
    "bootstrap",
    "brier",
    "clopper_pearson",
    "cohen_kappa",
    "compare",
    "confusion_pairs",
    "evaluate",
    "example_f1",
    "expected_calibration_error",
    "fleiss_kappa",
    "hamming_loss",
    "hierarchical_f1",
    "inverse_purity",
    "kappa_by",
    "krippendorff_alpha",
    "level_accuracy",
    "log_loss",
    "macro_f1",
    "many_to_one_f1",
    "matched_tree_distance",
    "mcnemar",
    "mean_tree_distance",
    "micro_f1",
    "multiclass_brier",
    "nmi",
    "one_to_one_accuracy",
    "one_to_one_f1",
    "paired_bootstrap",
    "per_label",
    "purity",
    "reliability",
    "risk_coverage",
    "subset_accuracy",
    "threshold_for_precision",
    "v_measure",
    "weighted_f1",
    "wilson",
]
