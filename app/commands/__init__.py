"""What the `citestream` command's parts do; each is a coroutine on top of bootstrap."""
