"""What every command refuses before it begins: arguments that are empty, and options that are cut short."""

import pytest

from training.__main__ import main as training
from wdlora.cli import main


@pytest.mark.parametrize(
    ("program", "arguments", "named"),
    [
        (main, ["batch", "flow.json", "--out", "out", "--masks", ""], "--masks"),
        (main, ["measure", "a.png", "--csv="], "--csv="),
        (main, ["inspect", ""], "inspect"),
        (main, ["demo", "--out", ""], "--out"),
        (training, ["finetune", "--preset", "miniature", "--set", ""], "--set"),
    ],
)
def test_an_empty_argument_is_refused_by_name(capsys, program, arguments, named):
    """As an unset shell variable leaves it: taken for an option that is not given, it changes what is done."""
    assert program(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the value after {named} is empty" in said


def test_an_option_must_be_written_out(capsys):
    """`--seed` is none of `compare`'s options, which has `--seeds`, a number of them."""
    with pytest.raises(SystemExit, match="2"):
        training(["compare", "--out", "out", "--seed", "7"])
    assert "unrecognized arguments: --seed 7" in capsys.readouterr().err
