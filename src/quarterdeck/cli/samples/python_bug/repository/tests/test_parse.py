import pytest

from hours import BadHours, Span, parse_week


def test_one_day():
    week = parse_week("Tu 09:00-17:00")
    assert week.on(1) == (Span(540, 1020),)
    assert week.on(0) == ()


def test_a_range_of_days():
    week = parse_week("Mo-Fr 08:30-12:00")
    assert [len(week.on(day)) for day in range(7)] == [1, 1, 1, 1, 1, 0, 0]


def test_a_range_over_the_weekend():
    week = parse_week("Sa-Mo 10:00-12:00")
    assert [len(week.on(day)) for day in range(7)] == [1, 0, 0, 0, 0, 1, 1]


def test_several_spans_are_sorted():
    week = parse_week("We 13:30-18:00,09:00-12:30")
    assert week.on(2) == (Span(540, 750), Span(810, 1080))


def test_off_takes_a_day_away():
    week = parse_week("Mo-Su 09:00-17:00; Su off")
    assert week.on(6) == ()
    assert week.on(5) == (Span(540, 1020),)


def test_a_list_of_days():
    week = parse_week("Mo,We,Fr 09:00-10:00")
    assert [len(week.on(day)) for day in range(7)] == [1, 0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "text", ["Xx 09:00-10:00", "Mo 9-10", "Mo 09:00", "Mo 25:00-26:00", "Mo 09:60-10:00"]
)
def test_what_is_wrong_is_said(text):
    with pytest.raises(BadHours):
        parse_week(text)
