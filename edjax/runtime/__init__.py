"""Where and how a run runs: devices, processes, checkpoints, run directory."""
