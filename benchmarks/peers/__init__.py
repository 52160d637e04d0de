"""One small file a peer: the three problems in its language, and one call that samples."""
