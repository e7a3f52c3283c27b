"""Whether synthetic images can be trusted: fidelity, diversity, biomarkers and copies of two sets of images.

    from wdlora.evaluation import compare_sets, read_set, write_evaluation

    found = compare_sets(read_set("held_out", "real"), read_set("painted", "synthetic"))
    write_evaluation(found, Path("report"))

The names below are imported when they are first used, so that importing the package stays cheap.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .pillars import Options as Options
    from .pillars import SetComparison as SetComparison
    from .pillars import compare_sets as compare_sets
    from .report import write_evaluation as write_evaluation
    from .sets import read_set as read_set
    from .sets import set_of_arrays as set_of_arrays
    from .sets import with_size as with_size
    from .workers import Crew as Crew

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pillars": ["SetComparison", "Options", "compare_sets"],
        "report": ["write_evaluation"],
        "sets": ["read_set", "set_of_arrays", "with_size"],
        "workers": ["Crew"],
    },
)
