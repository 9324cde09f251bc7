"""Arrays on devices and on disk: spread over a mesh, over processes, in files."""
