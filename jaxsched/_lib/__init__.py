"""Arrays, chunks, devices, files, names, progress: what knows nothing of scheduling."""
