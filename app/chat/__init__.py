"""The core: from a question to typed events. Knows no framework, vendor or database."""
