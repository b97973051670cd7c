"""Retrieval sources side by side, their deadlines, and fusion."""
