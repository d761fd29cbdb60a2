"""Conditional requests: every row of RFC 9110's order of evaluation, and any bytes in the fields."""

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside.http.files.conditions import ETag, Validators, Verdict, allows_range, evaluate, read_date, read_etags

NOW = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example
DATE, EARLIER, LATER = (formatdate(NOW + shift, usegmt=True) for shift in (0, -1, 1))
STRONG = Validators(ETag("a"), NOW)
WEAK = Validators(ETag("a", weak=True), NOW)

# Characters that mean something in the fields, so that what is made of them gets past the first one.
telling = st.text(st.sampled_from('W/"*,- \tabGMT:0123456789\x80\xff'), max_size=40)
values = st.one_of(telling, st.text(max_size=40), st.sampled_from([DATE, EARLIER, LATER, '"a"', 'W/"a"', "*"]))
fields = st.dictionaries(
    st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"]), values
)
states = st.sampled_from([STRONG, WEAK, None])


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ('"a"', ("a",)),
        ('""', ("",)),
        ('"a", "b"', ("a", "b")),
        ('"a","b"', ("a", "b")),
        (' ,, "a" ,\t"b", ', ("a", "b")),
        ('"a,b"', ("a,b",)),
        ('"\x80!#"', ("\x80!#",)),
        ("", ()),
        ("*", ()),
        ("a", ()),
        ('"a', ()),
        ('"a" "b"', ()),
        ('"a", b', ()),
        ('"a b"', ()),
        ('w/"a"', ()),
        ('W/ "a"', ()),
    ],
)
def test_list_of_tags(text: str, tags: tuple[str, ...]) -> None:
    assert read_etags(text) == tuple(ETag(tag) for tag in tags)


def test_weak_tags() -> None:
    assert read_etags('W/"a", "b"') == (ETag("a", weak=True), ETag("b"))


@given(st.lists(st.builds(ETag, st.text(st.sampled_from("!#,az\x80\xff")), st.booleans()), max_size=5))
def test_tags_come_back(tags: list[ETag]) -> None:
    assert read_etags(", ".join(map(str, tags))) == tuple(tags)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOW),
        ("Sunday, 06-Nov-94 08:49:37 GMT", NOW),
        ("Sun Nov  6 08:49:37 1994", NOW),
        ("Sun, 06 Nov 1994 08:49:37 +0100", None),
        ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
        ("yesterday", None),
        ("0", None),
        ("", None),
    ],
)
def test_date(text: str, seconds: int | None) -> None:
    assert read_date(text) == seconds


@given(st.one_of(telling, st.text(max_size=60)))
@example("Sun, 06 Nov 99999999999999999999 08:49:37 GMT")
@example("Mon, 01 Jan 0001 00:00:00 GMT")
def test_date_is_a_number_or_none(text: str) -> None:
    assert isinstance(read_date(text), int | None)


PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("sent", "get", "put"),
    [
        ({}, PROCEED, PROCEED),
        ({"if-match": '"a"'}, PROCEED, PROCEED),
        ({"if-match": '"b", "a"'}, PROCEED, PROCEED),
        ({"if-match": "*"}, PROCEED, PROCEED),
        ({"if-match": '"b"'}, FAILED, FAILED),
        ({"if-match": 'W/"a"'}, FAILED, FAILED),
        ({"if-match": "a"}, FAILED, FAILED),
        ({"if-match": '"a"', "if-unmodified-since": EARLIER}, PROCEED, PROCEED),
        ({"if-unmodified-since": DATE}, PROCEED, PROCEED),
        ({"if-unmodified-since": LATER}, PROCEED, PROCEED),
        ({"if-unmodified-since": EARLIER}, FAILED, FAILED),
        ({"if-unmodified-since": "nonsense"}, PROCEED, PROCEED),
        ({"if-none-match": '"a"'}, NOT_MODIFIED, FAILED),
        ({"if-none-match": 'W/"a"'}, NOT_MODIFIED, FAILED),
        ({"if-none-match": '"b"'}, PROCEED, PROCEED),
        ({"if-none-match": "*"}, PROCEED, FAILED),
        ({"if-none-match": '"b"', "if-modified-since": DATE}, PROCEED, PROCEED),
        ({"if-modified-since": DATE}, NOT_MODIFIED, PROCEED),
        ({"if-modified-since": LATER}, NOT_MODIFIED, PROCEED),
        ({"if-modified-since": EARLIER}, PROCEED, PROCEED),
        ({"if-modified-since": "nonsense"}, PROCEED, PROCEED),
        ({"if-match": '"b"', "if-none-match": '"a"'}, FAILED, FAILED),
        ({"if-match": '"a"', "if-none-match": '"a"'}, NOT_MODIFIED, FAILED),
    ],
)
def test_order_of_evaluation(sent: dict[str, str], get: Verdict, put: Verdict) -> None:
    assert [evaluate(method, sent, STRONG) for method in ("GET", "HEAD", "PUT")] == [get, get, put]


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        ({}, PROCEED),
        ({"if-match": "*"}, FAILED),
        ({"if-match": '"a"'}, FAILED),
        ({"if-none-match": "*"}, PROCEED),
        ({"if-none-match": '"a"'}, PROCEED),
        ({"if-unmodified-since": DATE}, FAILED),
        ({"if-modified-since": DATE}, PROCEED),
    ],
)
def test_conditions_where_there_is_nothing(sent: dict[str, str], verdict: Verdict) -> None:
    assert evaluate("PUT", sent, None) is verdict


@pytest.mark.parametrize(
    ("wanted", "strong", "weak"),
    [
        ('"a"', True, False),
        ('W/"a"', False, False),
        ('"b"', False, False),
        ('"a', False, False),
        (DATE, True, False),
        (EARLIER, False, False),
        (LATER, False, False),
        ("nonsense", False, False),
        ("", False, False),
    ],
)
def test_if_range(wanted: str, strong: bool, weak: bool) -> None:
    assert allows_range({"if-range": wanted}, STRONG) is strong
    assert allows_range({"if-range": wanted}, WEAK) is weak


def test_without_if_range() -> None:
    assert allows_range({}, WEAK)


@given(st.sampled_from(["GET", "HEAD", "PUT", "SPAM"]), fields, states)
def test_any_fields_give_a_verdict(method: str, sent: dict[str, str], state: Validators | None) -> None:
    verdict = evaluate(method, sent, state)
    if verdict is Verdict.NOT_MODIFIED:
        assert method in ("GET", "HEAD")
        assert {"if-none-match", "if-modified-since"} & sent.keys()
    if verdict is Verdict.FAILED:
        assert {"if-match", "if-none-match", "if-unmodified-since"} & sent.keys()


@given(fields, st.sampled_from([STRONG, WEAK]))
def test_any_if_range_is_yes_or_no(sent: dict[str, str], state: Validators) -> None:
    assert isinstance(allows_range(sent, state), bool)
