"""A small shop whose background tasks do real work: mail, thumbnails, audit rows, pick lists. See README.md."""
