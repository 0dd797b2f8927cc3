"""Where the time went: sums by activity, on a CPU and on a GPU's clock."""

import time

import pytest
import torch

from pconv.training import timing
from pconv.training.timing import Account


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is told to go: clock(3) is three seconds later."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def later(seconds):
        now[0] += seconds

    return later


def test_seconds_add_up_by_activity(clock):
    account = Account(torch.device("cpu"))
    for forward, backward in ((1, 4), (2, 5)):
        with account.spent_on("forward"):
            clock(forward)
        clock(1000)  # on nothing that is accounted for
        with account.spent_on("backward"):
            clock(backward)
    assert account.seconds == {"forward": 3, "backward": 9}
    assert str(account) == "12 s: backward 9 s (75 %), forward 3 s (25 %)".replace(" %", "%")


def test_it_goes_on_from_a_checkpoint(clock):
    account = Account(torch.device("cpu"))
    account.seconds.update({"forward": 3.0})
    with account.spent_on("forward"):
        clock(1)
    assert account.seconds == {"forward": 4}


class Event:
    """What Account uses of torch.cuda.Event, on a GPU that is three operations behind."""

    recorded = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        Event.recorded += 1
        self.number = Event.recorded

    def query(self):
        return self.number <= Event.recorded - 3

    def elapsed_time(self, end):
        return 1000.0 * (end.number - self.number)  # ms


def test_a_gpu_is_timed_by_its_own_clock_without_waiting_for_it(monkeypatch):
    monkeypatch.setattr(timing.torch.cuda, "Event", Event)
    account = Account(torch.device("cuda"))
    for _ in range(3):
        with account.spent_on("forward"):
            pass
    account.settle()
    assert account.seconds == {"forward": 1}  # events 1, 2 and 3 of 6 are reached: the second pair is not whole
    Event.recorded += 3
    account.settle()
    assert account.seconds == {"forward": 3}
