from calc import clamp, mean


def test_inside():
    assert clamp(5, 1, 10) == 5


def test_low():
    assert clamp(0, 1, 10) == 1


def test_high():
    assert clamp(50, 1, 10) == 10


def test_mean():
    assert mean([1, 2, 3]) == 2
