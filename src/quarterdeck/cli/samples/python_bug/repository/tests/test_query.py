from datetime import datetime

from hours import is_open, minutes_until_closing, next_opening, parse_week

SHOP = parse_week("Mo-Fr 09:00-12:30,13:30-18:00; Sa 10:00-14:00")
BAR = parse_week("Fr-Sa 20:00-02:00")
MONDAY, FRIDAY, SATURDAY, SUNDAY = 2, 6, 7, 8


def at(day, hour, minute=0):
    return datetime(2026, 3, day, hour, minute)


def test_open_in_the_morning():
    assert is_open(SHOP, at(MONDAY, 9))


def test_closed_for_lunch():
    assert not is_open(SHOP, at(MONDAY, 12, 45))


def test_closed_when_lunch_begins():
    assert not is_open(SHOP, at(MONDAY, 12, 30))


def test_closed_on_sunday():
    assert not is_open(SHOP, at(SUNDAY, 11))


def test_bar_is_open_before_midnight():
    assert is_open(BAR, at(FRIDAY, 23))


def test_bar_is_open_after_midnight():
    assert is_open(BAR, at(SUNDAY, 1, 59))


def test_bar_is_closed_at_two():
    assert not is_open(BAR, at(SUNDAY, 2))


def test_minutes_until_closing():
    assert minutes_until_closing(SHOP, at(MONDAY, 17, 15)) == 45


def test_minutes_until_closing_after_midnight():
    assert minutes_until_closing(BAR, at(SATURDAY, 1)) == 60


def test_no_minutes_until_closing_when_closed():
    assert minutes_until_closing(SHOP, at(MONDAY, 18)) is None


def test_next_opening_today():
    assert next_opening(SHOP, at(MONDAY, 12, 30)) == at(MONDAY, 13, 30)


def test_next_opening_after_the_weekend():
    assert next_opening(SHOP, at(SATURDAY, 15)) == at(MONDAY + 7, 9)


def test_next_opening_never():
    assert next_opening(parse_week(""), at(MONDAY, 9)) is None
