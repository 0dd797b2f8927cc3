"""Where the time went: sums by activity, on a CPU and on a GPU's clock."""

import time

import pytest
import torch

from pconv.training import timing
from pconv.training.timing import Timer


@pytest.fixture
def clock(monkeypatch):
    """Install a clock that stands still until it is told to go: clock(3) is three seconds later."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def later(seconds):
        now[0] += seconds

    return later


def test_seconds_add_up_by_activity(clock):
    timer = Timer(torch.device("cpu"))
    for forward, backward in ((1, 4), (2, 5)):
        with timer.measure("forward"):
            clock(forward)
        clock(1000)  # on nothing that is measured
        with timer.measure("backward"):
            clock(backward)
    assert timer.seconds == {"forward": 3, "backward": 9}
    assert str(timer) == "12 s: backward 9 s (75 %), forward 3 s (25 %)".replace(" %", "%")


def test_it_goes_on_from_a_checkpoint(clock):
    timer = Timer(torch.device("cpu"))
    timer.seconds.update({"forward": 3.0})
    with timer.measure("forward"):
        clock(1)
    assert timer.seconds == {"forward": 4}


def test_what_a_wait_for_items_takes_is_measured_and_not_what_is_done_with_them(clock):
    def items():
        for seconds in (1, 2):
            clock(seconds)
            yield seconds
        clock(4)  # until it is known that there are no more

    timer = Timer(torch.device("cpu"))
    for _ in timer.measure_each("data", items()):
        clock(1000)
    assert timer.seconds == {"data": 7}


class Event:
    """What Timer uses of torch.cuda.Event, on a GPU that is three operations behind."""

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
    timer = Timer(torch.device("cuda"))
    for _ in range(3):
        with timer.measure("forward"):
            pass
    timer.collect()
    assert timer.seconds == {"forward": 1}  # events 1, 2 and 3 of 6 are reached: the second pair is not whole
    Event.recorded += 3
    timer.collect()
    assert timer.seconds == {"forward": 3}
