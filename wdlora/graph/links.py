"""Links of an API-format graph: an input is a value or a link [node id, output index]."""


def is_link(value: object) -> bool:
    """Whether an input is a link [node id, output index]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )
