"""What `citestream bench` measures: ratios, in interleaved rounds of one run on one machine."""
