"""The benchmarks behind `scripts/bench.py`: one file per part, the two baselines, and what they share."""
