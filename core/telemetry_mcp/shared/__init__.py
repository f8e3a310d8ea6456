"""What several instances share: cache, single flight, counters, back-off, notifications. In Redis, when
configured."""
