"""What `benchmarks.first_answer` runs, each in a process of its own."""
