"""The encoding service and its client.

`client` is what the API imports: it never touches torch. `backend` is the only module that does,
inside its functions; `batching` decides, `batcher` runs the model, `api` speaks OpenAI's format
and `server` is the process around them.
"""
