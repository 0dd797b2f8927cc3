"""What is due in a stage, and when: functions of the number of steps taken, so that a restart changes nothing."""

from __future__ import annotations

from pconv.params import Stage, Train

SAMPLE_AT = (0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.75, 1)  # the shares of a stage after which samples are filled
ROWS = 10  # of training losses in an epoch


class Plan:
    """The plan of stage 1 or 2. Raises ParamsError for any other."""

    def __init__(self, train: Train, stage: int):
        self.schedule: Stage = train.schedule(stage)
        self.total = self.schedule.epochs * self.schedule.steps
        self.before = train.stage1.epochs * train.stage1.steps if stage == 2 else 0  # steps in the stage before
        self._sample_after = {round(share * self.total) for share in SAMPLE_AT}

    def logs(self, step: int) -> bool:
        """Whether the training losses since the last row are logged: after each tenth of an epoch, and at its end."""
        return step % max(1, self.schedule.steps // ROWS) == 0 or self.ends_epoch(step)

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch has just ended, so that the network is validated."""
        return step > 0 and step % self.schedule.steps == 0

    def samples(self, step: int) -> bool:
        """Whether the samples are filled."""
        return step in self._sample_after
