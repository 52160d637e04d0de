"""One meta-step of second-order MAML, written with each peer."""
