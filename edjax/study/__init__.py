"""Studies: many runs, their plan, queue, statistics and verdicts."""
