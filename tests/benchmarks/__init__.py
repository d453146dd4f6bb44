"""How fast memsessions is, beside other ways to keep sessions: `python -m tests.benchmarks`, in the root."""
