"""What is read off the mask itself, on shapes with a known answer."""

import math

import numpy as np
import pytest

from wdlora.anatomy.biomarkers.descriptors import box_counting_dimension


def test_box_counting_dimension():
    assert box_counting_dimension(np.ones((256, 256), bool)) == pytest.approx(2)
    row = np.zeros((256, 256), bool)
    row[100] = True
    assert box_counting_dimension(row) == pytest.approx(1)
    carpet = np.ones((1, 1), bool)
    while len(carpet) < 512:  # the Sierpinski triangle: log 3 / log 2
        carpet = np.block([[carpet, np.zeros_like(carpet)], [carpet, carpet]])
    assert box_counting_dimension(carpet) == pytest.approx(math.log(3) / math.log(2), abs=1e-9)
