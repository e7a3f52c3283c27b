"""The smallest number of patients or pairs that is enough."""

from collections.abc import Callable


def least_count(enough: Callable[[int], bool], first: int, most: int) -> int | None:
    """The smallest count from `first` to `most` that is `enough`, which stays true once it is; None where none is.

    Counts are doubled until one is enough, then halved in between.
    """
    low, high = first - 1, first
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
