"""The bootstrap over photographs against SciPy's and against known cases, and the verdicts that follow."""

import numpy as np
import pytest
from scipy import stats

from pconv.studies import bootstrap
from pconv.studies.bootstrap import FAILS, HOLDS, MISSING, OPEN, Interval, difference, speaks, verdict


def sample(photographs=40, seed=0):
    """Return values of two runs, with one to four crops of each photograph that are alike."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"{i}.jpg" for i in range(photographs)], rng.integers(1, 5, photographs))
    level = {name: rng.normal(25, 4) for name in np.unique(names)}
    base = np.array([level[name] for name in names])
    return base + rng.normal(0.3, 1, len(names)), base + rng.normal(0, 1, len(names)), names


def test_the_interval_is_that_of_scipy():
    """There a photograph is one observation: its number of crops and the sum of their differences."""
    first, second, names = sample()
    _, places = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(places, weights=first - second), np.bincount(places)
    found = difference(first, names, second, names)

    def mean(sums, counts, axis):
        return sums.sum(axis) / counts.sum(axis)

    settings = {"paired": True, "vectorized": True, "method": "percentile", "n_resamples": 20_000}
    expected = stats.bootstrap((sums, counts), mean, **settings, rng=np.random.default_rng(5)).confidence_interval
    width = expected.high - expected.low
    assert found.mean == pytest.approx((first - second).mean(), rel=1e-12)
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)


def test_pairing_takes_out_what_two_runs_have_in_common():
    first, second, names = sample()
    paired = difference(first, names, second, names)
    apart = difference(first, names, second, [f"other {name}" for name in names])
    assert paired.mean == apart.mean
    assert paired.high - paired.low < (apart.high - apart.low) / 3


def test_groups_of_different_photographs_give_the_interval_of_two_samples():
    rng = np.random.default_rng(2)
    first, second = rng.normal(1, 2, 400), rng.normal(0, 3, 300)
    found = difference(first, [f"a{i}" for i in range(400)], second, [f"b{i}" for i in range(300)])
    error = np.sqrt(first.var(ddof=1) / 400 + second.var(ddof=1) / 300)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)


def test_more_crops_of_the_same_photographs_are_no_more_evidence():
    first, second, names = sample()
    once, again = (difference(*[np.tile(v, n) for v in (first, names, second, names)]) for n in (1, 20))
    assert again == pytest.approx(once, rel=1e-9)


def test_a_constant_difference_has_an_interval_of_no_width():
    first, _, names = sample()
    assert difference(first + 0.5, names, first, names) == pytest.approx((0.5, 0.5, 0.5), abs=1e-9)


def test_the_interval_holds_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    bootstrap._draws.cache_clear()
    found = [difference(*(s := sample(60, seed))[:1], s[2], s[1], s[2]) for seed in range(200)]
    bootstrap._draws.cache_clear()
    assert 0.89 < np.mean([interval.low <= 0.3 <= interval.high for interval in found]) <= 0.99


def test_the_same_numbers_give_the_same_interval_again():
    first, second, names = sample()
    bootstrap._draws.cache_clear()
    once = difference(first, names, second, names)
    bootstrap._draws.cache_clear()
    assert difference(first, names, second, names) == once


@pytest.mark.parametrize("arguments", [([], [], [1], ["a"]), ([1], ["a"], [], []), ([1, 2], ["a"], [1], ["a"])])
def test_values_without_photographs_are_refused(arguments):
    with pytest.raises(ValueError, match="values of"):
        difference(*arguments)


UP, DOWN, AROUND = Interval(1, 0.5, 1.5), Interval(-1, -1.5, -0.5), Interval(0.1, -0.2, 0.4)


@pytest.mark.parametrize(
    "intervals, above, below, apart",
    [
        ([UP, UP], HOLDS, FAILS, HOLDS),
        ([UP, AROUND], OPEN, FAILS, OPEN),
        ([UP, DOWN], FAILS, FAILS, HOLDS),
        ([AROUND, DOWN], FAILS, OPEN, OPEN),
        ([DOWN], FAILS, HOLDS, HOLDS),
        ([Interval(1, 0, 2)], OPEN, OPEN, OPEN),
        ([Interval(-1, -2, 0)], OPEN, OPEN, OPEN),
        ([], MISSING, MISSING, MISSING),
    ],
)
def test_verdicts(intervals, above, below, apart):
    for claimed, answer in ((bootstrap.ABOVE, above), (bootstrap.BELOW, below), (bootstrap.APART, apart)):
        assert verdict([speaks(interval, claimed) for interval in intervals]) == answer
