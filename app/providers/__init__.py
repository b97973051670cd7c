"""LLM vendors behind one port: openai, mistral, extractive."""
