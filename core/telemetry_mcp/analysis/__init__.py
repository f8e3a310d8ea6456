"""The arithmetic behind the answers: NumPy in, NumPy out. No I/O, no clock, no configuration.

A series is two arrays of one length: `timestamps_ms` (int64, epoch milliseconds) and `values` (float64). NaN and
infinity mean "no number here"; order and uniqueness of the timestamps are not required (see `sample.clean`).
"""
