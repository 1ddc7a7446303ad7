"""What may be told of an exception, and what may not: the input that it quotes."""
