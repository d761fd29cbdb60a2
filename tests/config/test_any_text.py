"""Any text is a configuration, or told to be none, by line; so is any variable."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside.service.config.options import options
from portside.service.config.problems import ConfigError
from tests.config.kit import BASE, made, wrong

# Certificates are files, which are not looked for here.
NAMES = [".".join(path) for path in options() if path[0] != "tls"]
VALUES = ["1", "-1", "1.5", "nan", "true", "''", '"off"', "[]", "{}", "[[1]]", "2026-01-01", '"10.0.0.0/8"', '"green"']

lines = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(" = ".join)
    | st.sampled_from(["[limits]", "[services.a]", "[[services]]", "", "handler", "= 1"])
    | st.text(max_size=20),
    max_size=8,
)


def outcome(text: str, environment: dict[str, str]) -> list[str]:
    """What is said against it."""
    try:
        return [] if made(text, environment).services else ["nothing is served"]
    except ConfigError as error:
        assert all(problem.text and problem.line <= len(text.splitlines()) + 1 for problem in error.problems)
        return [str(problem) for problem in error.problems]


@given(lines, st.booleans())
@example(["workers = " + "9" * 5000], True)
@example(["allow = " + "[" * 100_000], True)
def test_any_text_is_a_configuration_or_told_to_be_none(said: list[str], whole: bool) -> None:
    text = BASE * whole + "\n".join(said)
    assert "nothing is served" not in outcome(text, {})


@given(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(st.characters(exclude_characters="\0")))
def test_any_variable_is_an_option_or_told_to_be_none(name: str, value: str) -> None:
    variable = f"PORTSIDE_{name.replace('.', '__')}".upper()
    assert "nothing is served" not in outcome(BASE, {variable: value})


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "1" * 4400])
def test_number_beyond_all_is_told_with_its_place(number: str) -> None:
    [said] = wrong(f"{BASE}workers = {number}\n")
    assert said.startswith("app.toml")
    assert "this is no TOML" in said
