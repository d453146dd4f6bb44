"""Long attacks on the store, each with a seed, a duration and a report: `python -m tests.stress`."""
