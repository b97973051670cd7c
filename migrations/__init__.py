"""The database's history: one revision a file, named `<revision>_<what it does>.py`.

Run by `app.stores.migrate`; packaged beside `app`, so that an installed service migrates too.
"""
