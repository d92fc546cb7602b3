from hours import Span, Week, parse_week


def test_length():
    assert Span(540, 1020).length() == 480


def test_length_past_midnight():
    assert Span(1200, 120).length() == 360


def test_open_at_its_first_minute():
    assert Span(540, 1020).covers(540)


def test_closed_a_minute_before():
    assert not Span(540, 1020).covers(539)


def test_open_at_its_last_minute():
    assert Span(540, 1020).covers(1019)


def test_closed_at_closing_time():
    assert not Span(540, 1020).covers(1020)


def test_closed_in_the_evening():
    assert not Span(540, 1020).covers(1300)


def test_minutes_of_a_week():
    assert parse_week("Mo-Fr 09:00-17:00; Sa 10:00-14:00").minutes() == 5 * 480 + 240


def test_describe():
    week = parse_week("Mo 09:00-12:30,13:30-18:00; Sa 10:00-14:00")
    assert week.describe() == "Mo 09:00-12:30, 13:30-18:00\nSa 10:00-14:00"


def test_describe_when_always_closed():
    assert Week().describe() == "closed"
