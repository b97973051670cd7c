"""Postgres and Redis adapters, each beside its SQL."""
