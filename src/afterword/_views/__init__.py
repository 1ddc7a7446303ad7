"""What is shown, as plain data: the command line and the console make text and pages of it."""
