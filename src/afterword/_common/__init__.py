"""The words: model, names on the wire, task names, bounds, context, text, log output. Imports nothing above."""
