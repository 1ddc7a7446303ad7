"""The journal: what is in flight and what has ended, in files that outlive the process."""
