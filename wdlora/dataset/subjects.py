"""Whose a picture is where nobody knows the patient: its own, or that of the mask from which it was painted.

Such a subject stands in a table's column `patient`, so that a split parts no pictures that belong together; it is not
counted as a patient.
"""

import re

_OF_MASK = re.compile(r"mask-[0-9a-f]{12}")


def of_mask(sha256: str) -> str:
    """The subject of all pictures that were painted from a mask file with this hash."""
    return f"mask-{sha256[:12]}"


def is_of_mask(subject: str) -> bool:
    """Whether a subject stands for a mask."""
    return _OF_MASK.fullmatch(subject) is not None


def is_patient(subject: str, stem: str) -> bool:
    """Whether a table's `patient` names one; `stem` is the picture's name without its ending."""
    return subject not in ("", stem) and not is_of_mask(subject)
