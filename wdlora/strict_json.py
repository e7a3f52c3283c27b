"""JSON as RFC 8259 has it: without NaN and infinities, which Python reads and writes and others do not."""

import json
import math
from typing import Any

from .errors import InputError


def loads(text: str | bytes) -> Any:
    """A JSON value. Raises InputError for NaN and numbers beyond the finite, ValueError for what is no JSON."""
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def _no_number(constant: str) -> Any:
    raise InputError(f"the JSON holds {constant}, which is not a number; give a finite one or null")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits[:40])
