"""What a background task costs: bare, observed by hand, by Afterword, and by its peers. See README.md here."""
