"""The console over HTTP: who is let in, the page, the JSON API, and what happens as it happens."""
