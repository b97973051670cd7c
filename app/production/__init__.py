"""What production refuses to start with, and the sentences that say what to set instead.

Light to import: it is asked before anything is listened on, also by a parent of workers, which
serves nobody itself.
"""

from app.production.refusal import findings, refuse_in_production, refuse_weak_secrets
from app.production.rules import concerns

__all__ = ["concerns", "findings", "refuse_in_production", "refuse_weak_secrets"]
