"""What the service tells of itself: logs, and traces where they are switched on."""

from app.telemetry.logs import configure_logging

__all__ = ["configure_logging"]
