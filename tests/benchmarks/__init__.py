"""How fast memsessions is, next to plain cache reads: `python -m tests.benchmarks`, in the project's root."""
