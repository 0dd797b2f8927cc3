"""The order of photographs: each once in a pass, and of many shards each read by one process, a few at a time."""

import time
from pathlib import Path

import numpy as np
import pytest

from pconv.data.manifest import Photograph
from pconv.training.distributed import Group
from pconv.training.order import WINDOW, Order


def in_files(count):
    return [Photograph(Path(), str(n), 1, "") for n in range(count)]


def in_shards(*sizes):
    return [
        Photograph(Path(), str(n), 1, "", f"{shard}.tar", n) for shard, size in enumerate(sizes) for n in range(size)
    ]


def passes(order, count=3):
    return np.array([order[n] for n in range(count * order.count)]).reshape(count, order.count)


SIZES = np.random.default_rng(0).integers(50, 150, size=80).tolist()


@pytest.mark.parametrize("photographs", [in_files(7), in_shards(3, 1, 4), in_shards(*SIZES)])
@pytest.mark.parametrize("batch", [1, 4, 24])
def test_every_photograph_comes_once_in_each_pass_in_changing_order(photographs, batch):
    found = passes(Order(0, 1, photographs, batch))
    assert all(sorted(one) == list(range(len(photographs))) for one in found)
    assert len({tuple(one) for one in found}) == 3


def test_the_order_of_files_and_of_few_shards_is_a_plain_permutation():
    """It is the one of earlier results, whatever the batch."""
    for photographs in (in_files(100), in_shards(*[10] * 10), in_shards(100)):
        for batch in (4, 6):
            found = passes(Order(5, 2, photographs, batch))
            expected = [np.random.default_rng((5, 2, 0, number)).permutation(100) for number in range(3)]
            assert np.array_equal(found, expected)


def test_the_order_is_a_function_of_seed_stage_list_and_batch():
    photographs = in_shards(*SIZES)
    one = Order(0, 1, photographs, 4)
    places = np.random.default_rng(1).integers(5 * one.count, size=500)
    again = Order(0, 1, photographs, 4)
    expected = {n: again[n] for n in sorted(places)}
    assert all(one[n] == expected[n] for n in places)
    others = [Order(1, 1, photographs, 4), Order(0, 2, photographs, 4), Order(0, 1, photographs, 5)]
    assert all(np.mean(passes(other, 1) == passes(one, 1)) < 0.1 for other in others)


@pytest.mark.parametrize("batch, processes", [(6, 1), (6, 2), (24, 4), (24, 24)])
def test_processes_read_shards_of_their_own_a_few_at_a_time(batch, processes):
    """So as many bytes are read as the photographs have, however many processes there are."""
    photographs = in_shards(*SIZES)
    order, each = Order(0, 1, photographs, batch), len(photographs) // batch
    read = []
    for rank in range(processes):
        group = Group(rank, processes)
        batches = [group.share(range(step * batch, (step + 1) * batch)) for step in range(each)]
        by_step = [[photographs[order[n]].shard for n in share] for share in batches]
        read.append({shard for shards in by_step for shard in shards})
        first, last = {}, {}
        for step, shards in enumerate(by_step):
            for shard in shards:
                first.setdefault(shard, step)
                last[shard] = step
        at_once = [sum(first[s] <= step <= last[s] for s in first) for step in range(each)]
        assert max(at_once) <= (batch + max(WINDOW, batch)) / processes * 1.6 + 2
        assert 0 < order.ahead < batch * np.mean(SIZES) and order.ahead % batch == 0  # of the same process, in time
    assert len(set.union(*read)) == len(SIZES)
    assert sum(map(len, read)) <= len(SIZES) + processes  # one may be cut between two processes


@pytest.mark.parametrize("batch", [4, 24])
def test_photographs_of_a_shard_are_far_apart_and_mixed(batch):
    photographs = in_shards(*SIZES)
    order = Order(0, 1, photographs, batch)
    found = passes(order, 1)[0]
    shards = [photographs[n].shard for n in found]
    batches = [set(shards[n : n + batch]) for n in range(0, len(shards), batch)]
    assert np.mean([len(one) for one in batches]) > 0.75 * min(batch, WINDOW)
    rows = {shard: [n for n, other in zip(found, shards, strict=True) if other == shard] for shard in set(shards)}
    ascending = [np.mean(np.diff(places) > 0) for places in rows.values()]
    assert 0.4 < np.mean(ascending) < 0.7  # 0.5 if they came in any order, 1 if in that of the shard


def test_the_order_of_a_large_data_set_takes_no_time_to_speak_of():
    photographs = in_shards(*[100] * 1281)
    began = time.process_time()
    order = Order(0, 1, photographs, 48)
    order[0]
    assert time.process_time() - began < 1
    began = time.process_time()
    for n in range(1000):
        order[n]
    assert time.process_time() - began < 0.1
