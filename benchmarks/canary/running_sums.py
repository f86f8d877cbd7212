"""The sums of ``serving.statistics.strata`` at any row of a rollout, without adding up all rows for each analysis.

The contribution of a stratum is fixed once it has ended; only the last one is still open.
``tests/serving/statistics/test_simulation.py`` compares them with ``stratified_sums`` of the rows so far.
"""

import numpy as np

from serving.statistics.strata import Evidence, Floats, Ints, StratifiedSums, strata


class RunningSums:
    """Rows of one metric in order of time; the sums are taken at rising numbers of rows."""

    def __init__(self, evidence: Evidence, users: int) -> None:
        """Prepare the sums.

        Args:
            evidence: sorted by time, its users numbered from 0.
            users: how many there are.
        """
        candidate, bad = evidence.candidate, evidence.bad
        widened = np.asarray(evidence.widened, np.int64)
        self._rows = np.array([candidate, bad], np.float64)
        self._starts = strata(evidence.time, evidence.widened)
        ends = np.append(self._starts[1:], len(evidence))
        self._stratum = np.repeat(np.arange(len(self._starts)), ends - self._starts)
        self._step = np.searchsorted(widened, evidence.time[self._starts], side="right")
        self._steps = len(widened) + 1
        self._cell = np.asarray(evidence.unit, np.int64) * self._steps + self._step[self._stratum]
        self._counts = np.zeros((3, len(evidence) + 1))
        np.cumsum([candidate, bad, candidate & bad], axis=1, out=self._counts[:, 1:])
        by_stratum = np.zeros((5, self._steps, len(self._starts) + 1))
        by_stratum[:, self._step, np.arange(len(self._starts)) + 1] = self._within(self._starts, ends)
        self._closed = np.cumsum(by_stratum, axis=2)
        self._by_user = np.zeros((2, users * self._steps))
        self._added = 0

    def overall(self, rows: Ints) -> Floats:
        """[difference, weight, level; analyses] Sums over all steps, after so many rows."""
        last = self._stratum[rows - 1]
        sums = self._closed.sum(axis=1)[:, last] + self._within(self._starts[last], rows)
        return np.asarray(sums[[0, 1, 3]])

    def until(self, rows: int) -> StratifiedSums:
        """The sums after so many rows; never fewer rows than in the call before."""
        last = int(self._stratum[rows - 1])
        begin, step = int(self._starts[last]), int(self._step[last])
        sums = self._closed[:, : step + 1, last].copy()
        sums[:, step] += self._within(np.array([begin]), np.array([rows]))[:, 0]
        for stratum in range(self._added, last):
            self._by_user += self._of_users(int(self._starts[stratum]), int(self._starts[stratum + 1]))
        self._added = last
        side, residual = (self._by_user + self._of_users(begin, rows)).reshape(2, -1, self._steps)[:, :, : step + 1]
        difference, weight, stable_weight, level, squares = sums
        return StratifiedSums(
            difference=difference,
            weight=weight,
            stable_weight=stable_weight,
            level=level,
            squares=squares,
            residual=residual,
            side=side,
        )

    def _within(self, begin: Ints, end: Ints) -> Floats:
        """[difference, weight, stable weight, level, squares; analyses] What these rows contribute as one stratum."""
        rows = end - begin
        candidate, bad, both = self._counts[:, end] - self._counts[:, begin]
        share = candidate / rows
        weight = candidate * (1 - share)
        return np.array([both - share * bad, weight, weight * (1 - share), weight * bad / rows, bad * (1 - bad / rows)])

    def _of_users(self, begin: int, end: int) -> Floats:
        """[side, residual; users and steps] What these rows contribute as one stratum."""
        rows, cell, size = self._rows[:, begin:end], self._cell[begin:end], self._by_user.shape[1]
        centred = rows - rows.sum(axis=1, keepdims=True) / (end - begin)
        return np.array([np.bincount(cell, values, minlength=size) for values in centred])
