"""How well retrieval finds what it should: data sets with judgements, figures, and their report."""
