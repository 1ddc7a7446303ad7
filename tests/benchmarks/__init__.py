"""What a background task costs: bare, observed by hand, by Epilogue, and by its peers. See README.md here."""
