"""Secrets at rest: envelope encryption of what a tenant entrusts to the service."""
