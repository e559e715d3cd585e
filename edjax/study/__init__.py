"""Many runs: which they are, their queue, statistics and verdicts."""
