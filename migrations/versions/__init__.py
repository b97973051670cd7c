"""Revisions in order of their numbers; the last file's number is the head."""
