"""The command line: shows what the journal holds, and checks the account that an application publishes."""
