"""Mutants of the error path and the ledger: one that no test notices is explained, or a test is missing."""
