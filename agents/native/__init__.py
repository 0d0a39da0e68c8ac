"""Tools that come with the server: each a file, as if it were uploaded, beside what an upload would learn of it."""
