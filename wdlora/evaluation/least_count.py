"""The smallest number of patients or pairs that is enough."""

from collections.abc import Callable


def least_count(enough: Callable[[int], bool], first: int, most: int) -> int | None:
    """The smallest count from `first` on that is `enough`, which stays true once it is; None where it lies far beyond
    `most`: counts are doubled until one is enough, then halved in between.
    """
    low, high = first - 1, first
    while not enough(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
