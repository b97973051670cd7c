"""From bytes to indexed documents: parse, chunk, embed, store."""
