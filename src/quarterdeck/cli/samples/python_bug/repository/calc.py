"""A calculator."""


def clamp(value, low, high):
    if value < low:
        return low
    if value < high:
        return high
    return value


def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)
