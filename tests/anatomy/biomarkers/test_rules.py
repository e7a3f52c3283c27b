"""Rule sets by their names."""

import pytest

from tests.anatomy.drawings import draw
from tests.anatomy.random_plexus import random_plexus
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.rules import RULE_SETS, present_label, rule_set


@pytest.fixture(scope="module")
def plexus():
    return draw(random_plexus(4))


def test_rule_sets_are_named_and_versioned(plexus):
    for name in RULE_SETS:
        result = measure(plexus, rules=name)
        assert result.rules == result.to_dict()["rules"] == f"{name}/{rule_set(name).version}"
    chain, smooth = measure(plexus, rules="chain_code"), measure(plexus)
    assert 1.02 < chain.cnfl / smooth.cnfl < 1.07  # steps of 1 and √2 overestimate by 4 to 5.5 %


def test_a_former_name_is_the_same_rule_set(plexus):
    """`keep_all` was called `none`: commands may still say so, and results written so far mean the same."""
    assert rule_set("none") is RULE_SETS["keep_all"]
    assert measure(plexus, rules="none") == measure(plexus, rules="keep_all")
    assert [present_label(label) for label in ("none/1", "keep_all/1", "acc_like/1", "")] == [
        "keep_all/1",
        "keep_all/1",
        "acc_like/1",
        "",
    ]
