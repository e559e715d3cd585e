"""What the builders share: processes, results, downloads, shards."""
