"""The event loop: how late it is, and who holds it up."""
