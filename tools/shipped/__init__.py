"""The shipped workflows, each said once."""

from collections.abc import Callable
from typing import Any

from tools.flow import Flow
from tools.shipped.ccm_synthesis import ccm_synthesis
from tools.shipped.cohort_dataset import cohort_dataset
from tools.shipped.disease_progression import disease_progression
from tools.shipped.evaluate_cohort import evaluate_cohort
from tools.shipped.lora_vs_wdlora import lora_vs_wdlora
from tools.shipped.quickstart_cpu import quickstart_cpu
from tools.shipped.train_adapter import train_adapter

FLOWS: tuple[Callable[[dict[str, Any], str], Flow], ...] = (
    quickstart_cpu,
    ccm_synthesis,
    cohort_dataset,
    lora_vs_wdlora,
    disease_progression,
    train_adapter,
    evaluate_cohort,
)
"""Every shipped workflow."""
