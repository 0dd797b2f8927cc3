"""The order in which training visits the photographs: every one once in a pass, before any comes again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pconv.data.manifest import Photograph

WINDOW = 16  # shards that photographs are mixed over, if a batch has no more images


class Order:
    """Order()[n] is the place, in the list, of the photograph of sample n: a function of seed, stage, n and the list.

    Files come in a random order, and so do photographs in few shards. Of many shards only some are read at a time, and
    their order is a function of train.batch as well. Image k of every batch has a share of the shards to itself, as a
    training process has its images of every batch to itself: so each process reads its share of the shards and no
    others, however many processes there are. The photographs of a share come shard after shard, each delayed at random
    by up to 1 shard, or by WINDOW shards divided among the images of a batch if that is more: this mixes them, and new
    shards are needed one after the other.
    """

    def __init__(self, seed: int, stage: int, photographs: Sequence[Photograph], batch: int):
        self.key, self.count, self.batch = (seed, stage, 0), len(photographs), batch
        changes = [n for n in range(1, self.count) if photographs[n].shard != photographs[n - 1].shard]
        self.shards = np.split(np.arange(self.count), changes)
        reach = max(1, WINDOW / batch)  # in shards
        self.mixed_within = reach * self.count / len(self.shards)  # in photographs
        self.is_plain = len(self.shards) <= batch * (reach + 1)  # as many as are read at a time in any case
        # The number of samples after which a shard is needed that need not be there yet.
        self.ahead = 0 if self.is_plain else batch * (self.count // len(self.shards) // 2)
        self._passes: dict[int, np.ndarray] = {}

    def __getitem__(self, n: int) -> int:
        number, place = divmod(n, self.count)
        if number not in self._passes:
            kept = {other: order for other, order in self._passes.items() if abs(other - number) == 1}
            self._passes = kept | {number: self._draw(number)}
        return int(self._passes[number][place])

    def _draw(self, number: int) -> np.ndarray:
        """Return the order of one pass."""
        rng = np.random.default_rng((*self.key, number))
        if self.is_plain:
            return rng.permutation(self.count)
        order = np.concatenate([self.shards[shard] for shard in rng.permutation(len(self.shards))])
        mixed = np.empty_like(order)
        for k, share in enumerate(np.array_split(order, self.batch)):
            delayed = np.arange(len(share)) + rng.uniform(0, self.mixed_within, len(share))
            mixed[k :: self.batch] = share[np.argsort(delayed)]
        return mixed
