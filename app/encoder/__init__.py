"""The encoding service and its client."""
