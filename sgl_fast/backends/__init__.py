"""Where operations run: which backend, in what precision, on what toolkit."""
